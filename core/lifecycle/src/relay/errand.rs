//! One question: read as it is needed, answered, and the answer written as it comes.

use super::{Bytes, Front, Question, Reply, Trouble, pieces::Pieces};
use futures::{StreamExt, stream};
use spinor_model::{
    id::{Digest, Stamp},
    policy::{ComputingBackend, Spool, SpoolFile},
};
use spinor_spool::{
    Answered, Asked, BEGINNING, CHUNK, Key, Name, Opening, Sealing, Side, TAG, head_and_body,
    inside, told_size,
};
use std::{io, sync::Arc};
use tokio::sync::Semaphore;

/// A question that lies at a CE.
pub struct Errand {
    /// Who carries it.
    pub backend: Arc<dyn ComputingBackend>,
    /// Whose it is.
    pub stamp: Stamp,
    /// Which of the pilot's.
    pub number: u32,
    /// Bytes of its file.
    pub size: u64,
    /// The hash of the pilot's secret.
    pub secret: Digest,
}

/// Bytes of a sealed chunk.
const SEALED: usize = CHUNK + TAG;

fn spool(backend: &dyn ComputingBackend) -> Result<&dyn Spool, Trouble> {
    backend.spool().ok_or_else(|| Trouble::NotOurs("its CE carries no files any more".to_owned()))
}

impl Errand {
    fn file(&self, name: Name) -> SpoolFile {
        SpoolFile { pilot: Some(self.stamp.clone()), name: name.to_string() }
    }

    /// Whose it is, and which.
    pub fn key(&self) -> (Stamp, u32) {
        (self.stamp.clone(), self.number)
    }

    /// Has it answered. What is larger than a chunk waits for its turn.
    pub async fn run(&self, front: &dyn Front, large: &Semaphore) -> Result<(), Trouble> {
        let key = Key::of(&self.secret);
        let mut turn = match self.size > (BEGINNING + SEALED) as u64 {
            true => large.acquire().await.ok(),
            false => None,
        };
        let question = self.question(&key).await?;
        // Nothing else of what a server shows is a pilot's business.
        if !question.path.starts_with("/api/") {
            return Err(Trouble::NotOurs(format!("no path `{}`", question.path)));
        }
        let reply = front.answer(question).await?;
        if turn.is_none() && reply.length > CHUNK as u64 {
            turn = large.acquire().await.ok();
        }
        let put = self.put(&key, reply).await;
        drop(turn);
        put
    }

    async fn question(&self, key: &Key) -> Result<Question, Trouble> {
        let file = self.file(Name::Request(self.number));
        let most = u32::try_from(BEGINNING + SEALED).unwrap_or(u32::MAX);
        let first = spool(self.backend.as_ref())?.read(&file, 0, most).await?;
        if told_size(&first) != Some(self.size) {
            return Err(Trouble::NotOurs("a file is not as large as it says".to_owned()));
        }
        let (beginning, sealed) = first.split_at(BEGINNING.min(first.len()));
        let mut opening = Opening::begin(key, Side::Request, self.number, beginning)?;
        let plain = opening.chunk(sealed)?;
        let whole = plain.len();
        let (asked, body): (Asked, Vec<u8>) = head_and_body(plain)?;
        let length = inside(self.size).saturating_sub((whole - body.len()) as u64);
        let (backend, offset) = (self.backend.clone(), (BEGINNING + SEALED) as u64);
        let rest = Rest { backend, file, opening, offset }.stream();
        let body = stream::once(async { Ok(body) }).chain(rest).boxed();
        let Asked { method, path, token } = asked;
        Ok(Question { method, path, token, length, body })
    }

    async fn put(&self, key: &Key, reply: Reply) -> Result<(), Trouble> {
        let Reply { status, length, body } = reply;
        let head = Answered { status }.line()?;
        let total = head.len() as u64 + length;
        let mut sealing = Sealing::begin(key, Side::Answer, self.number, total);
        let mut pieces = Pieces::new(head, body, length, CHUNK);
        let (file, spool) = (self.file(Name::Response(self.number)), spool(self.backend.as_ref())?);
        let (mut sealed, mut offset) = (sealing.beginning(), 0);
        while let Some(plain) = pieces.next().await? {
            sealed.extend(sealing.chunk(&plain)?);
            let bytes = sealed.len() as u64;
            spool.write(&file, offset, std::mem::take(&mut sealed)).await?;
            offset += bytes;
        }
        Ok(())
    }
}

/// The chunks of a question after the first, each read when it is wanted.
struct Rest {
    backend: Arc<dyn ComputingBackend>,
    file: SpoolFile,
    opening: Opening,
    offset: u64,
}

impl Rest {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        if self.opening.is_whole() {
            return Ok(None);
        }
        let most = u32::try_from(SEALED).unwrap_or(u32::MAX);
        let sealed = spool(self.backend.as_ref())?.read(&self.file, self.offset, most).await?;
        self.offset += SEALED as u64;
        Ok(Some(self.opening.chunk(&sealed)?))
    }

    fn stream(self) -> Bytes {
        let next = |mut rest: Self| async move {
            let plain = rest.next().await.map_err(io::Error::other)?;
            Ok(plain.map(|plain| (plain, rest)))
        };
        stream::try_unfold(self, next).boxed()
    }
}

//! The pilot program is brought to where workers find it, before any pilot is sent.

use super::{Front, Question, Relay, Reply, Trouble, pieces::Pieces};
use crate::{Lifecycle, lock};
use futures::{StreamExt, stream};
use spinor_model::{
    id::{CeName, VoName},
    policy::{Spool, SpoolFile},
};
use std::io;
use tokio::sync::OnceCell;

/// Bytes that are written at a time.
const PART: usize = 1 << 20;

/// What is known of the program: how many bytes it has.
#[derive(Default)]
pub struct Program(OnceCell<u64>);

fn question(lifecycle: &Lifecycle) -> Question {
    Question {
        method: "GET".to_owned(),
        path: format!("/api/pilots/program/{}", lifecycle.program),
        token: String::new(),
        length: 0,
        body: stream::empty().boxed(),
    }
}

async fn program(lifecycle: &Lifecycle, front: &dyn Front) -> io::Result<Reply> {
    let reply = front.answer(question(lifecycle)).await?;
    match reply.status {
        200 => Ok(reply),
        status => {
            Err(io::Error::other(format!("the pilot program cannot be had: status {status}")))
        }
    }
}

impl Program {
    async fn length(&self, lifecycle: &Lifecycle, front: &dyn Front) -> io::Result<u64> {
        let ask = async || program(lifecycle, front).await.map(|reply| reply.length);
        self.0.get_or_try_init(ask).await.copied()
    }
}

impl Lifecycle {
    /// The pilot program, as workers without a network find it.
    pub(crate) fn program_file(&self) -> SpoolFile {
        SpoolFile { pilot: None, name: self.program.to_string() }
    }
}

impl Relay {
    /// Brings the program, if it is not there as it should be.
    pub(super) async fn bring_program(
        &self,
        place: &(VoName, CeName),
        spool: &dyn Spool,
        listed: &[(SpoolFile, u64)],
    ) -> Result<(), Trouble> {
        let lifecycle = &self.lifecycle;
        let file = lifecycle.program_file();
        let length = self.program.length(lifecycle, self.front.as_ref()).await?;
        if !listed.contains(&(file.clone(), length)) {
            lock(&lifecycle.carried).remove(place);
            tracing::info!(vo = %place.0, ce = %place.1, bytes = length, "bringing the pilot program");
            let reply = program(lifecycle, self.front.as_ref()).await?;
            let mut pieces = Pieces::new(Vec::new(), reply.body, length, PART);
            let mut offset = 0;
            while let Some(piece) = pieces.next().await? {
                let bytes = piece.len() as u64;
                spool.write(&file, offset, piece).await?;
                offset += bytes;
            }
        }
        Ok(())
    }
}

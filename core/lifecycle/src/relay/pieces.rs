//! A body in pieces of a size, whatever parts it comes in.

use super::Bytes;
use futures::TryStreamExt;
use std::io;

/// A body in pieces of a size.
pub struct Pieces {
    body: Bytes,
    size: usize,
    /// What was read of the next pieces.
    read: Vec<u8>,
    /// Bytes of the pieces that are left.
    left: u64,
}

impl Pieces {
    /// Of `first` and a body of `length` bytes.
    pub fn new(first: Vec<u8>, body: Bytes, length: u64, size: usize) -> Self {
        let left = first.len() as u64 + length;
        Self { body, size, read: first, left }
    }

    /// The next piece, if there is one. Only the last is smaller than the others.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.size);
        if wanted == 0 {
            return Ok(None);
        }
        while self.read.len() < wanted {
            let more = self.body.try_next().await?;
            self.read.extend(more.ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        self.left -= wanted as u64;
        let rest = self.read.split_off(wanted);
        Ok(Some(std::mem::replace(&mut self.read, rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};

    fn body(parts: &'static [&'static str]) -> Bytes {
        stream::iter(parts).map(|part| Ok(part.as_bytes().to_vec())).boxed()
    }

    #[tokio::test]
    async fn parts_become_pieces_and_a_body_that_ends_too_soon_is_an_error() {
        let mut pieces = Pieces::new(b"a".to_vec(), body(&["b", "cdefg", ""]), 6, 3);
        let mut found = Vec::new();
        while let Some(piece) = pieces.next().await.unwrap() {
            found.push(String::from_utf8(piece).unwrap());
        }
        assert_eq!(found, ["abc", "def", "g"]);
        let mut short = Pieces::new(Vec::new(), body(&["b"]), 2, 3);
        assert_eq!(short.next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

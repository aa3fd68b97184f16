//! What passes between a guest and the world through its capabilities: recorded while it works, and
//! played to another version of it, so that no exchange happens twice.

use serde::{Serialize, de::DeserializeOwned};
use spinor_model::{id::Digest, policy::Exchange};

/// Bytes of a call's recording; a longer one is dropped.
const MAX_BYTES: usize = 256 << 10;

/// Exchanges of a call with the world, the first first.
#[derive(Debug)]
pub enum Tape {
    /// They happen, and are written down.
    Recording {
        /// So far.
        exchanges: Vec<Exchange>,
        /// What they take.
        bytes: usize,
    },
    /// They happen, and nobody wants to know: nothing of the kind is replayed, or it was too much.
    Off,
    /// They happened: what is asked again is answered the same, and nothing else is.
    Playing(Vec<Exchange>),
}

impl Default for Tape {
    fn default() -> Self {
        Self::Recording { exchanges: Vec::new(), bytes: 0 }
    }
}

impl Tape {
    /// What was recorded, if it was not too much.
    pub fn recorded(self) -> Option<Vec<Exchange>> {
        match self {
            Self::Recording { exchanges, .. } => Some(exchanges),
            Self::Off | Self::Playing(_) => None,
        }
    }

    /// One exchange: `live` happens only while recording.
    pub async fn exchange<Q: Serialize + ?Sized, A: Serialize + DeserializeOwned>(
        &mut self,
        call: &'static str,
        asked: &Q,
        live: impl Future<Output = A>,
    ) -> wasmtime::Result<A> {
        let question = || serde_json::to_string(asked);
        let digest = |question: &str| Digest::of(question.as_bytes());
        match self {
            Self::Off => Ok(live.await),
            Self::Recording { exchanges, bytes } => {
                let asked = digest(&question()?);
                let answer = live.await;
                let answered = serde_json::to_string(&answer)?;
                *bytes += answered.len() + 200;
                exchanges.push(Exchange { call: call.to_owned(), asked, answered });
                if *bytes > MAX_BYTES {
                    *self = Self::Off;
                }
                Ok(answer)
            }
            Self::Playing(exchanges) => {
                let question = question()?;
                let asked = digest(&question);
                let same = |e: &Exchange| e.call == call && e.asked == asked;
                let Some(at) = exchanges.iter().position(same) else {
                    let shown: String = question.chars().take(200).collect();
                    return Err(wasmtime::Error::msg(format!(
                        "asks {call} what was not asked then: {shown}"
                    )));
                };
                Ok(serde_json::from_str(&exchanges.remove(at).answered)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_recorded_is_played_once_and_nothing_else() {
        let mut tape = Tape::default();
        let size = tape.exchange("directory.size", "a", async { 7u64 }).await.unwrap();
        assert_eq!(size, 7);
        let mut tape = Tape::Playing(tape.recorded().unwrap());
        let never = async { unreachable!("it happens again") };
        let played: u64 = tape.exchange("directory.size", "a", never).await.unwrap();
        assert_eq!(played, 7);
        for name in ["a", "b"] {
            let asked = tape.exchange("directory.size", name, async { 1u64 }).await;
            let error = asked.unwrap_err().to_string();
            assert!(error.contains("asks directory.size what was not asked then"), "{error}");
        }
    }

    #[tokio::test]
    async fn too_much_is_not_recorded() {
        let mut tape = Tape::default();
        for _ in 0..2 {
            tape.exchange("directory.read", "a", async { "x".repeat(200 << 10) }).await.unwrap();
        }
        assert_eq!(tape.recorded(), None);
    }
}

//! The conformance kit of the computing contract: what a backend owes the server, tried on a real CE.
#![allow(clippy::unwrap_used, dead_code)]

use spinor_model::{
    id::{Digest, Stamp},
    policy::{
        ComputingBackend, PilotRequest, PilotStatus, PilotStream, Placeholder, PolicyError,
        SpoolFile, Submission,
    },
};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// What runs instead of the pilot: it says what it was told, sleeps and ends as it was told.
pub const PROBE: &str = r#"#!/bin/sh
file=$1
told() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" "$file"; }
printf 'secret %s\n' "$(printf %s "$(told secret)" | sha256sum | cut -d' ' -f1)"
echo "stamp $(told stamp)"
echo "complaint of $(told stamp)" >&2
sleep "$(told sleep)"
exit "$(told exit)"
"#;

/// Writes the probe where workers find it.
pub fn put_probe(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(file, PROBE).unwrap();
    std::fs::set_permissions(file, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A CE under test.
pub struct Kit {
    /// Its backend.
    pub backend: Arc<dyn ComputingBackend>,
    /// A queue that it has.
    pub queue: &'static str,
    /// A queue that it does not have, if it has queues.
    pub no_queue: Option<&'static str>,
    /// Whether it carries files to pilots and from them.
    pub carries_files: bool,
    /// Whether it gives what pilots wrote.
    pub gives_outputs: bool,
    /// A reference of the right form that it never gave out.
    pub stranger: &'static str,
}

pub fn pilot(queue: &str, sleep: u32, exit: u32) -> PilotRequest {
    let stamp: Stamp = spinor_identity::secret::fresh()[..32].parse().unwrap();
    let told = serde_json::json!({
        "stamp": stamp, "secret": Placeholder::mark(&stamp),
        "sleep": sleep.to_string(), "exit": exit.to_string(),
    });
    PilotRequest {
        stamp,
        queue: queue.parse().unwrap(),
        cores: 1,
        memory_mb: 200,
        wall_time: 600,
        attributes: Default::default(),
        configuration: told.to_string(),
        secret: Placeholder(spinor_identity::secret::fresh()),
    }
}

impl Kit {
    async fn status(&self, reference: &str) -> PilotStatus {
        self.backend.status(&[reference.to_owned()]).await.unwrap().remove(0)
    }

    async fn until(&self, reference: &str, what: &str, good: impl Fn(&PilotStatus) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status(reference).await;
            if good(&status) {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(120), "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// All of it.
    pub async fn run(&self) {
        self.capacity().await;
        self.files().await;
        let [good, bad, long] =
            [(2, 0), (0, 3), (600, 0)].map(|(sleep, exit)| pilot(self.queue, sleep, exit));
        let references = self.submit([&good, &bad, &long]).await;
        self.find(&good, &references[0]).await;
        self.states(&references).await;
        self.outputs(&good, &references[0]).await;
        self.cancel(&references[2]).await;
        self.clean(&references).await;
    }

    /// Files go there in parts, are listed and are taken away; those of a pilot are told from those for all.
    async fn files(&self) {
        let Some(spool) = self.backend.spool() else {
            return assert!(!self.carries_files);
        };
        let stamp = pilot(self.queue, 0, 0).stamp;
        let file = |pilot: Option<&Stamp>, name: &str| SpoolFile {
            pilot: pilot.cloned(),
            name: name.to_owned(),
        };
        let program = file(None, &"0f".repeat(32));
        let answer = file(Some(&stamp), "1.response");
        let part: Vec<u8> = (0..=255).cycle().take(300 << 10).collect();
        for file in [&program, &answer] {
            spool.write(file, 0, b"what was there before".to_vec()).await.unwrap();
            spool.write(file, 0, part.clone()).await.unwrap();
            spool.write(file, part.len() as u64, b"end".to_vec()).await.unwrap();
        }
        let size = part.len() as u64 + 3;
        let listed = spool.list().await.unwrap();
        for file in [&program, &answer] {
            assert!(listed.contains(&(file.clone(), size)), "{file:?} is not in {listed:?}");
            spool.remove(file).await.unwrap();
            spool.remove(file).await.unwrap();
        }
        assert_eq!(spool.list().await.unwrap(), []);
    }

    async fn capacity(&self) {
        let queue = self.queue.parse().unwrap();
        let room = self.backend.capacity(&[queue]).await.unwrap();
        assert_eq!(room.len(), 1);
        assert_eq!(room[0].queue.as_str(), self.queue);
    }

    /// A pilot that is refused spoils no other of its batch.
    async fn submit(&self, pilots: [&PilotRequest; 3]) -> [String; 3] {
        let mut batch: Vec<PilotRequest> = pilots.map(Clone::clone).to_vec();
        if let Some(no_queue) = self.no_queue {
            batch.insert(1, pilot(no_queue, 0, 0));
        }
        let mut answers = self.backend.submit(&batch).await.unwrap();
        assert_eq!(answers.len(), batch.len());
        if self.no_queue.is_some() {
            let refused = answers.remove(1);
            assert!(matches!(&refused, Submission::Refused(why) if !why.is_empty()), "{refused:?}");
        }
        let reference = |answer: &Submission| match answer {
            Submission::Submitted(reference) => reference.clone(),
            other => panic!("not submitted: {other:?}"),
        };
        answers.iter().map(reference).collect::<Vec<_>>().try_into().unwrap()
    }

    /// A pilot is found by its stamp, under the reference that it was given; one that never came is not.
    async fn find(&self, known: &PilotRequest, reference: &str) {
        let never = pilot(self.queue, 0, 0).stamp;
        let started = Instant::now();
        loop {
            let found = self.backend.find(&[known.stamp.clone(), never.clone()]).await;
            match &found {
                Ok(found) if *found == [Some(reference.to_owned()), None] => return,
                // It may not know yet.
                Ok(_) | Err(PolicyError::Answer { retry: true, .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(started.elapsed() < Duration::from_secs(90), "{found:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Ends are told apart, and a reference that is none's spoils no other.
    async fn states(&self, [good, bad, long]: &[String; 3]) {
        let asked = [good.clone(), self.stranger.to_owned(), long.clone()];
        let states = self.backend.status(&asked).await.unwrap();
        assert!(matches!(states[1], PilotStatus::Unknown(_)), "{states:?}");
        assert!(matches!(states[2], PilotStatus::Waiting | PilotStatus::Running), "{states:?}");
        self.until(long, "never ran", |s| *s == PilotStatus::Running).await;
        self.until(good, "never done", |s| *s == PilotStatus::Done).await;
        self.until(
            bad,
            "never failed",
            |s| matches!(s, PilotStatus::Failed(why) if !why.is_empty()),
        )
        .await;
    }

    /// The pilot had its secret, which the plugin never saw; what it wrote is read in parts.
    async fn outputs(&self, pilot: &PilotRequest, reference: &str) {
        let read = |stream, offset, max| self.backend.output(reference, stream, offset, max);
        let whole = read(PilotStream::Stdout, 0, 100_000).await;
        if !self.gives_outputs {
            assert!(whole.unwrap_err().to_string().len() > 20, "says where they are");
            return;
        }
        let whole = String::from_utf8(whole.unwrap()).unwrap();
        let secret = Digest::of(pilot.secret.0.as_bytes());
        let wanted = format!("secret {secret}\nstamp {}\n", pilot.stamp);
        assert_eq!(whole, wanted);
        let part = read(PilotStream::Stdout, 7, 10).await.unwrap();
        assert_eq!(part, &whole.as_bytes()[7..17]);
        assert!(read(PilotStream::Stdout, 100_000, 10).await.unwrap().is_empty());
        let complaint = read(PilotStream::Stderr, 0, 1_000).await.unwrap();
        assert_eq!(complaint, format!("complaint of {}\n", pilot.stamp).as_bytes());
    }

    /// A pilot that is told to end ends, and may be told again.
    async fn cancel(&self, reference: &str) {
        let references = [reference.to_owned(), self.stranger.to_owned()];
        assert_eq!(self.backend.cancel(&references).await.unwrap().remove(0), None);
        self.until(reference, "still there", |s| {
            matches!(s, PilotStatus::Aborted(_) | PilotStatus::Failed(_) | PilotStatus::Done)
        })
        .await;
        assert_eq!(self.backend.cancel(&references).await.unwrap().remove(0), None);
    }

    /// What they left is taken away, once or twice.
    async fn clean(&self, references: &[String]) {
        for _ in 0..2 {
            let answers = self.backend.clean(references).await.unwrap();
            assert!(answers.iter().all(Option::is_none), "{answers:?}");
        }
        if !self.gives_outputs {
            return;
        }
        let started = Instant::now();
        while let Ok(left) = self.backend.output(&references[0], PilotStream::Stdout, 0, 10).await {
            assert!(started.elapsed() < Duration::from_secs(60), "{left:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

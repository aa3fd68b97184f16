//! Pilots without a network are heard, over a real store, with files that are in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use spinor_identity::secret;
use spinor_lifecycle::relay::{Front, Question, Reply};
use spinor_model::{
    id::Stamp,
    policy::{PilotRequest, SpoolFile},
};
use spinor_spool::{Answered, Asked, CHUNK, Key, Name, Side};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use world::{DOCUMENT, World, world};

/// Says back what it is told, and remembers who asked for what.
#[derive(Default)]
struct Echo(Mutex<Vec<String>>);

#[async_trait]
impl Front for Echo {
    async fn answer(&self, question: Question) -> io::Result<Reply> {
        let Question { method, path, token, length, body } = question;
        let body = body.try_concat().await?;
        assert_eq!(body.len() as u64, length);
        self.0.lock().unwrap().push(format!("{method} {path} {token}"));
        // The program is not what pilots ask for.
        let body = if method == "GET" { b"program".to_vec() } else { body };
        let length = body.len() as u64;
        Ok(Reply { status: 200, length, body: stream::once(async { Ok(body) }).boxed() })
    }
}

const PUSH: &str = "[ces.a]\n    push = true";

struct Site {
    world: World,
    echo: Arc<Echo>,
    tasks: tokio::task::JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

impl Site {
    async fn open() -> Self {
        let world = world(&DOCUMENT.replace("[ces.a]", PUSH)).await;
        if world.lifecycle.store.shared() {
            // Only who has the duties carries anything.
            world.lifecycle.meet_others().await.unwrap();
        }
        let echo = Arc::new(Echo::default());
        let tasks = tokio::spawn(world.lifecycle.clone().relay_forever(echo.clone()));
        Self { world, echo, tasks }
    }

    fn file(&self, pilot: &Stamp, name: Name) -> SpoolFile {
        SpoolFile { pilot: Some(pilot.clone()), name: name.to_string() }
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        for _ in 0..600 {
            if condition() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}");
    }

    /// The first pilot that is sent.
    async fn pilot(&self) -> PilotRequest {
        self.world.submit(1).await;
        let program = |file: &SpoolFile| file.pilot.is_none();
        let brought = || self.world.twins.backend.spool.files().keys().any(program);
        self.until("the program was not brought", brought).await;
        for _ in 0..100 {
            self.world.lifecycle.supply().await.unwrap();
            if let Some(pilot) = self.world.twins.backend.submitted().pop() {
                return pilot;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no pilot was sent");
    }

    fn asks(&self, key: &Key, pilot: &Stamp, number: u32, path: &str, body: &[u8]) {
        let (method, token) = ("POST".to_owned(), "a token".to_owned());
        let head = Asked { method, path: path.to_owned(), token };
        let content = spinor_spool::write(key, Side::Request, number, &head, body).unwrap();
        let file = self.file(pilot, Name::Request(number));
        self.world.twins.backend.spool.files().insert(file, content);
    }
}

fn key(pilot: &PilotRequest) -> Key {
    Key::of(&secret::hash(&pilot.secret.0))
}

#[tokio::test]
async fn what_is_asked_is_answered_however_long_it_is() {
    let site = Site::open().await;
    let pilot = site.pilot().await;
    assert!(pilot.configuration.contains(r#""push":true"#));
    let (key, stamp) = (key(&pilot), pilot.stamp);
    let body: Vec<u8> = (0..=255).cycle().take(2 * CHUNK + 77).collect();
    site.asks(&key, &stamp, 1, "/api/x", &body);
    let answer = site.file(&stamp, Name::Response(1));
    let spool = &site.world.twins.backend.spool;
    let size = spinor_spool::size(body.len() as u64 + 15);
    let whole = || spool.files().get(&answer).is_some_and(|bytes| bytes.len() as u64 == size);
    site.until("no answer", whole).await;
    let content = spool.files()[&answer].clone();
    let (head, said): (Answered, _) = spinor_spool::read(&key, Side::Answer, 1, &content).unwrap();
    assert!(head.status == 200 && said == body);
    // It lies there until the pilot takes it away, and is not answered again.
    site.asks(&key, &stamp, 2, "/api/y", b"");
    let asked = |path: &str| {
        let line = format!("POST {path} a token");
        site.echo.0.lock().unwrap().iter().filter(|said| **said == line).count()
    };
    site.until("no second answer", || asked("/api/y") == 1).await;
    assert_eq!(asked("/api/x"), 1);
}

#[tokio::test]
async fn who_has_not_the_secret_and_what_is_no_request_is_not_answered() {
    let site = Site::open().await;
    let pilot = site.pilot().await;
    let (own, stamp) = (key(&pilot), pilot.stamp);
    let forged = Key::of(&secret::hash("another"));
    site.asks(&forged, &stamp, 1, "/api/forged", b"");
    site.asks(&own, &stamp, 2, "/elsewhere", b"");
    let stranger: Stamp = "0123456789abcdef0123456789abcdef".parse().unwrap();
    site.asks(&own, &stranger, 1, "/api/stranger", b"");
    site.world.twins.backend.spool.files().insert(site.file(&stamp, Name::Request(3)), vec![0; 9]);
    site.asks(&own, &stamp, 4, "/api/good", b"");
    let said = || site.echo.0.lock().unwrap().clone();
    site.until("no answer", || said().contains(&"POST /api/good a token".to_owned())).await;
    let posts: Vec<String> = said().into_iter().filter(|line| line.starts_with("POST")).collect();
    assert_eq!(posts, ["POST /api/good a token"]);
}

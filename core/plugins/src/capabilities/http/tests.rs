use super::*;
use crate::capabilities::credentials::LateCredentials;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
};

/// Answers so to every request, and keeps what was asked.
struct Peer {
    port: u16,
    asked: std::sync::mpsc::Receiver<String>,
}

fn peer(answer: impl Fn(&str) -> String + Send + 'static) -> Peer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = vec![0; 8192];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            stream.write_all(answer(&request).as_bytes()).unwrap();
            drop(sender.send(request));
        }
    });
    Peer { port, asked }
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn granted(grants: &str) -> (HttpCapability, tempfile::TempDir) {
    crate::tls::install();
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("jwt"), "s3cret-value\n").unwrap();
    let grants: Grants = toml::from_str(grants).unwrap();
    let credentials = Credentials { source: LateCredentials::default(), vo: "vo".parse().unwrap() };
    (HttpCapability::new(&grants, secrets.path().to_owned(), credentials), secrets)
}

fn get(url: &str, headers: &[(&str, &str)]) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        body: Vec::new(),
        timeout_ms: 2_000,
        identity: None,
    }
}

async fn send(http: &HttpCapability, request: Request) -> Answer<Response> {
    let checked = http.check(&request).await?;
    http.send(checked, request.body, request.timeout_ms).await
}

fn why(result: Answer<Response>) -> String {
    match result {
        Err(HttpError::Denied(text)) => text,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn a_secret_goes_where_the_grant_says_and_never_comes_back() {
    let peer = peer(|request| {
        let sent = request.lines().find(|l| l.starts_with("authorization")).unwrap().to_owned();
        ok(&format!("x-echo: {sent}\r\nset-cookie: a=b\r\n"), &format!("you said {sent}"))
    });
    let origin = format!("http://127.0.0.1:{}", peer.port);
    let (http, secrets) = granted(&format!(
        "http = [{{ origin = \"{origin}\", paths = [\"/api/\"], private = true }}]
         secret.jwt = {{ origin = \"{origin}\", header = \"authorization\" }}"
    ));
    let bearer = [("authorization", "Bearer {secret:jwt}")];
    let answer = send(&http, get(&format!("{origin}/api/x"), &bearer)).await.unwrap();
    assert!(peer.asked.recv().unwrap().contains("authorization: Bearer s3cret-value\r\n"));
    let shown = format!("{:?} {}", answer.headers, String::from_utf8_lossy(&answer.body));
    assert!(!shown.contains("s3cret") && !shown.contains("set-cookie"), "{shown}");
    assert!(shown.contains("you said authorization: Bearer {secret:jwt}"), "{shown}");

    for (header, value, expected) in [
        ("x-other", "{secret:jwt}", "no grant puts secret `jwt` into header `x-other`"),
        ("authorization", "{secret:root}", "no grant puts secret `root`"),
        ("authorization", "{secret:../jwt}", "no grant puts secret `../jwt`"),
        ("authorization", "{secret:jwt", "without `}`"),
    ] {
        let asked = send(&http, get(&format!("{origin}/api/x"), &[(header, value)])).await;
        assert!(why(asked).contains(expected), "{value}");
    }
    std::fs::remove_file(secrets.path().join("jwt")).unwrap();
    let gone = send(&http, get(&format!("{origin}/api/x"), &bearer)).await;
    assert!(why(gone).contains("the operator has not put it there"));
    assert!(peer.asked.try_recv().is_err(), "nothing of this was sent");
}

#[tokio::test]
async fn nothing_beyond_the_grant_is_sent() {
    let (http, _secrets) = granted(
        "http = [{ origin = \"https://ce.example.org\", paths = [\"/slurm/\"] }, { origin = \"http://127.0.0.1:9\", paths = [\"/\"] }, { origin = \"http://localhost:9\", paths = [\"/\"] }]",
    );
    let ce = "https://ce.example.org";
    for (url, headers, expected) in [
        ("http://ce.example.org/slurm/x".to_owned(), vec![], "no grant covers"),
        (format!("{ce}:444/slurm/x"), vec![], "no grant covers"),
        (format!("{ce}.evil.org/slurm/x"), vec![], "no grant covers"),
        ("https://evil.org/https://ce.example.org/slurm/".to_owned(), vec![], "no grant covers"),
        (
            format!("{ce}/slurm/../admin"),
            vec![],
            "no grant covers GET https://ce.example.org/admin",
        ),
        (format!("{ce}/slurm/%2e%2e/admin"), vec![], "no grant covers"),
        (format!("{ce}/slurm/..%2fadmin"), vec![], "hides a slash"),
        (format!("{ce}/slurm/..\\admin"), vec![], "no grant covers"),
        ("https://user:pw@ce.example.org/slurm/".to_owned(), vec![], "must not carry a user"),
        ("https://ce.example.org@evil.org/slurm/".to_owned(), vec![], "must not carry a user"),
        ("file:///etc/passwd".to_owned(), vec![], "no grant covers"),
        ("http://127.0.0.1:9/".to_owned(), vec![], "private address 127.0.0.1"),
        ("http://localhost:9/".to_owned(), vec![], "localhost is at the private address"),
        (format!("{ce}/slurm/"), vec![("host", "evil.org")], "is the host's own to set"),
        (format!("{ce}/slurm/"), vec![("Transfer-Encoding", "chunked")], "is the host's own"),
        (format!("{ce}/slurm/"), vec![("x", "a\r\nhost: evil.org")], "characters that no value"),
        (format!("{ce}/slurm/"), vec![("x\r\nhost", "evil.org")], "no header name"),
    ] {
        let told = why(send(&http, get(&url, &headers)).await);
        assert!(told.contains(expected), "{url} {headers:?}: {told}");
    }
    let post = Request { method: "POST".to_owned(), ..get(&format!("{ce}/slurm/"), &[]) };
    assert!(why(send(&http, post).await).contains("no grant covers POST"));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_a_long_one_is_cut() {
    let far = |request: &str| {
        match request.starts_with("GET /api/long") {
        true => ok("", &"x".repeat(3_000)),
        false => "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    }
    };
    let peer = peer(far);
    let origin = format!("http://127.0.0.1:{}", peer.port);
    let (http, _secrets) = granted(&format!(
        "http = [{{ origin = \"{origin}\", paths = [\"/api/\"], private = true, max_kb = 2 }}]"
    ));
    let answer = send(&http, get(&format!("{origin}/api/x"), &[])).await.unwrap();
    assert_eq!((answer.status, answer.complete), (302, true));
    let answer = send(&http, get(&format!("{origin}/api/long"), &[])).await.unwrap();
    assert_eq!((answer.body.len(), answer.complete), (2_048, false));
}

#[tokio::test]
async fn a_secret_that_is_cut_off_is_not_shown_in_part() {
    let secret = "0123456789".repeat(10);
    // The first is cleared, and makes room for the beginning of the second.
    let twice = format!("{secret}{}{secret}", "x".repeat(974));
    let peer = peer(move |_| ok("", &twice));
    let origin = format!("http://127.0.0.1:{}", peer.port);
    let (http, secrets) = granted(&format!(
        "http = [{{ origin = \"{origin}\", paths = [\"/\"], private = true, max_kb = 1 }}]
         secret.jwt = {{ origin = \"{origin}\", header = \"authorization\" }}"
    ));
    std::fs::write(secrets.path().join("jwt"), secret).unwrap();
    let bearer = [("authorization", "Bearer {secret:jwt}")];
    let answer = send(&http, get(&format!("{origin}/"), &bearer)).await.unwrap();
    let shown = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((shown, answer.complete), (format!("{{secret:jwt}}{}", "x".repeat(974)), false));
}

#[tokio::test]
async fn what_had_no_connection_was_not_sent_and_what_was_cut_off_is_unknown() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mute = peer(|_| String::new());
    let grants = |port| {
        format!(
            "http = [{{ origin = \"http://127.0.0.1:{port}\", paths = [\"/\"], private = true }}]"
        )
    };
    let ask = |port| async move {
        let (http, _secrets) = granted(&grants(port));
        send(&http, get(&format!("http://127.0.0.1:{port}/"), &[])).await
    };
    assert!(matches!(ask(unused).await, Err(HttpError::NotSent(_))));
    assert!(matches!(ask(mute.port).await, Err(HttpError::Unknown(_))));
}

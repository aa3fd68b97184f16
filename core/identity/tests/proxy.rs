//! Proxies are what OpenSSL takes for such.
#![allow(clippy::unwrap_used, missing_docs)]

use spinor_identity::proxy::Proxies;
use spinor_model::{
    registry::ProxySource,
    time::{Clock, ManualClock, SystemClock},
};
use std::{path::Path, process::Command, sync::Arc, time::Duration};

const EXTENSIONS: &str =
    "[req]\ndistinguished_name = name\n[name]\n[ca]\nbasicConstraints = critical, CA:TRUE
    keyUsage = critical, keyCertSign\n[user]\nbasicConstraints = critical, CA:FALSE
    keyUsage = critical, digitalSignature\n";

fn openssl(folder: &Path, arguments: &str) -> String {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {arguments}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A CA and a robot's certificate with its key, by a kind of key.
fn robot(folder: &Path, kind: &str) {
    std::fs::write(folder.join("conf"), EXTENSIONS).unwrap();
    let new = |name: &str, more: &str| {
        openssl(
            folder,
            &format!(
                "req -x509 -config conf -newkey {kind} -nodes -days 2 -keyout {name}.key -out {name}.pem {more}"
            ),
        );
    };
    new("ca", "-extensions ca -subj /DC=org/DC=spinor/CN=CA");
    new("user", "-extensions user -subj /DC=org/DC=spinor/CN=Robot -CA ca.pem -CAkey ca.key");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    std::fs::create_dir_all(folder.join("vo")).unwrap();
    std::fs::write(folder.join("vo/robot"), read("user.pem") + &read("user.key")).unwrap();
}

fn proxies(folder: &Path) -> Proxies {
    // Whoever comes first is believed.
    drop(rustls::crypto::ring::default_provider().install_default());
    Proxies::new(folder.to_owned(), Arc::new(SystemClock))
}

fn source(hours: u32) -> ProxySource {
    toml::from_str(&format!("certificate = \"robot\"\nhours = {hours}")).unwrap()
}

#[tokio::test]
async fn openssl_takes_them_whatever_key_the_robot_has() {
    for kind in ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256", "ed25519"] {
        let folder = tempfile::tempdir().unwrap();
        robot(folder.path(), kind);
        let proxies = proxies(folder.path());
        let vo = "vo".parse().unwrap();
        for (limited, language) in [(false, "Inherit all"), (true, "1.3.6.1.4.1.3536.1.1.1.9")] {
            let proxy = proxies.get(&vo, &source(12), limited).await.unwrap();
            let left = proxy.expires.since(SystemClock.now());
            assert!(
                left > Duration::from_secs(11 * 3600) && left <= Duration::from_secs(12 * 3600)
            );
            std::fs::write(folder.path().join("proxy"), proxy.pem.as_bytes()).unwrap();
            openssl(
                folder.path(),
                "verify -allow_proxy_certs -CAfile ca.pem -untrusted vo/robot proxy",
            );
            let text = openssl(folder.path(), "x509 -in proxy -noout -text");
            assert!(text.contains(language), "{text}");
            assert!(text.contains("DC = org, DC = spinor, CN = Robot, CN = "), "{text}");
            assert_eq!(proxy.pem.matches("BEGIN CERTIFICATE").count(), 2);
            assert!(proxy.pem.contains("BEGIN RSA PRIVATE KEY"));
        }
    }
}

#[tokio::test]
async fn they_are_kept_until_the_robot_has_another_certificate_and_end_with_it() {
    let folder = tempfile::tempdir().unwrap();
    robot(folder.path(), "rsa:2048");
    let proxies = proxies(folder.path());
    let vo = "vo".parse().unwrap();
    let first = proxies.get(&vo, &source(200), false).await.unwrap();
    assert!(first.expires.since(SystemClock.now()) <= Duration::from_secs(2 * 86_400));
    let again = proxies.get(&vo, &source(200), false).await.unwrap();
    assert_eq!(first.pem, again.pem);
    robot(folder.path(), "rsa:2048");
    let other = proxies.get(&vo, &source(200), false).await.unwrap();
    assert_ne!(first.pem, other.pem);
}

#[tokio::test]
async fn they_are_renewed_half_way() {
    let folder = tempfile::tempdir().unwrap();
    robot(folder.path(), "rsa:2048");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let proxies = Proxies::new(folder.path().to_owned(), clock.clone());
    let vo = "vo".parse().unwrap();
    let first = proxies.get(&vo, &source(12), false).await.unwrap();
    clock.advance(Duration::from_secs(5 * 3600));
    assert_eq!(first.pem, proxies.get(&vo, &source(12), false).await.unwrap().pem);
    clock.advance(Duration::from_secs(2 * 3600));
    // Whoever asks meanwhile does not wait.
    assert_eq!(first.pem, proxies.get(&vo, &source(12), false).await.unwrap().pem);
    for _ in 0..600 {
        if proxies.get(&vo, &source(12), false).await.unwrap().pem != first.pem {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is not renewed");
}

#[tokio::test]
async fn a_voms_server_that_hangs_holds_nobody_up_who_has_a_proxy_and_a_robot_that_is_gone_has_none()
 {
    let folder = tempfile::tempdir().unwrap();
    robot(folder.path(), "rsa:2048");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    drop(rustls::crypto::ring::default_provider().install_default());
    let proxies = Proxies::new(folder.path().to_owned(), clock.clone());
    let vo = "vo".parse().unwrap();
    let first = proxies.get(&vo, &source(12), false).await.unwrap();
    clock.advance(Duration::from_secs(7 * 3600));
    // It takes connections, and answers none.
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let voms = vec![format!("https://{}", hangs.local_addr().unwrap())];
    let asked = std::time::Instant::now();
    let other = ProxySource { voms, ..source(12) };
    assert!(proxies.get(&vo, &other, false).await.is_err(), "nobody vouched for this one yet");
    assert!(asked.elapsed() < Duration::from_secs(20));
    let again = std::time::Instant::now();
    let told = proxies.get(&vo, &other, false).await.unwrap_err().to_string();
    assert!(
        told.contains("no VOMS server vouches") && again.elapsed() < Duration::from_secs(1),
        "{told}"
    );

    assert_eq!(proxies.get(&vo, &source(12), false).await.unwrap().pem, first.pem);
    std::fs::remove_file(folder.path().join("vo/robot")).unwrap();
    let gone = proxies.get(&vo, &source(12), false).await.unwrap_err().to_string();
    assert!(gone.contains("is not among VO vo's secrets"), "{gone}");
}

#[tokio::test]
async fn what_is_missing_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let proxies = proxies(folder.path());
    let told = async |source: &ProxySource| {
        proxies.get(&"vo".parse().unwrap(), source, false).await.unwrap_err().to_string()
    };
    assert!(told(&source(12)).await.contains("`robot` is not among VO vo's secrets"));
    robot(folder.path(), "rsa:2048");
    let voms = ProxySource { voms: vec!["https://localhost:1".to_owned()], ..source(12) };
    assert!(told(&voms).await.contains("no VOMS server vouches for it: https://localhost:1: "));
    std::fs::write(folder.path().join("vo/robot"), "nonsense").unwrap();
    assert!(told(&source(12)).await.contains("there is no certificate"));
}

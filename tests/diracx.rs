//! DiracX's own clients, unmodified, against this server: people log in with a real OpenID provider,
//! submit JDLs, our pilots run them, outputs are fetched; and every operation that the clients have.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/provider.rs"]
mod provider;
mod support;

use provider::{Provider, login, script};

#[test]
fn a_user_of_dirac_logs_in_submits_and_fetches_outputs() {
    let (_provider, server) = Provider::with_server();
    let told = script(&server, "cli.py", &["--user", "alice", "--wait-done", "120"]);
    println!("{}", told.unwrap_or_else(|text| panic!("{text}\n{}", server.log())));
}

#[test]
fn every_operation_of_the_python_client_does_what_it_says() {
    let (_provider, server) = Provider::with_server();
    let alice = login(&server, "alice", "user");
    let (adam, pilot) = (login(&server, "adam", "admin"), login(&server, "adam", "pilot"));
    let credentials = ["--user-credentials", &alice, "--admin-credentials", &adam];
    let told = script(
        &server,
        "operations.py",
        &[&credentials[..], &["--pilot-credentials", &pilot]].concat(),
    );
    println!("{}", told.unwrap_or_else(|text| panic!("{text}\n{}", server.log())));
}

//! DiracX's own clients, unmodified, against this server: people log in with a real OpenID provider,
//! submit JDLs, our pilots run them, outputs are fetched; and every operation that the clients have.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/install.rs"]
mod install;
#[path = "support/provider.rs"]
mod provider;
mod support;

use install::python_of;
use provider::{Provider, borrowed, every_command, every_operation, logins, script_of};

#[test]
fn a_user_of_dirac_logs_in_submits_and_fetches_outputs() {
    let (_provider, server) = Provider::with_server();
    every_command(&server);
}

#[test]
fn every_operation_of_the_python_client_does_what_it_says() {
    let (_provider, server) = Provider::with_server();
    every_operation(&server);
}

#[test]
fn dirac_9_1_says_and_asks_what_becomes_of_jobs() {
    let (_provider, server) = Provider::with_server();
    let python = python_of("tests/diracx/dirac.txt", "dirac", &["--no-deps"]);
    let told = script_of(&python, &server, "state.py", &borrowed(&logins(&server)));
    println!("{}", told.unwrap_or_else(|text| panic!("{text}\n{}", server.log())));
}

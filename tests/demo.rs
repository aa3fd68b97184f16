//! The README's first line, as far as it can be had in a test: the demo ends well.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::Command;

#[test]
fn the_demo_ends_with_its_tables_and_exit_code_0() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_spinor"));
    if spinor_test_postgres::wanted() {
        demo.env("SPINOR_DATABASE", spinor_test_postgres::database());
    }
    let output = demo.arg("demo").output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    for part in ["200 Done", "swapped matching of VO aurora", "all is as it should be"] {
        assert!(out.contains(part), "no `{part}` in\n{out}");
    }
}

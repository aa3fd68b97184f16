//! The script that a worker runs: it makes a directory, puts the pilot's configuration there, brings
//! the pilot program, and runs it.

use super::names;
use crate::computing::Pilot;
use schemars::JsonSchema;
use serde::Deserialize;

/// How a pilot gets to its worker.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Where the pilot program is on the worker, e.g. on CVMFS. If not given, the worker fetches it from
    /// the server (with curl or wget, through a proxy if its environment names one) and checks its
    /// SHA-256.
    pub program: Option<String>,
    /// Directory on the worker in which pilots make theirs: $TMPDIR or /tmp, if not given.
    pub scratch: Option<String>,
    /// Lines of shell that come before the pilot, e.g. to load modules.
    pub preamble: String,
}

/// How a pilot gets to its worker, and where it leaves files.
#[derive(Debug, Clone, Copy)]
pub struct Ways<'a> {
    /// How it gets there.
    pub worker: &'a Worker,
    /// A directory that the worker has in common with whoever carries files, if there is one.
    pub shared: Option<&'a str>,
}

impl<'a> From<&'a Worker> for Ways<'a> {
    fn from(worker: &'a Worker) -> Self {
        Self { worker, shared: None }
    }
}

/// The pilot program as the server offers it.
#[derive(Debug, Default, Deserialize)]
struct Program {
    #[serde(default)]
    url: String,
    #[serde(default)]
    sha256: String,
}

#[derive(Debug, Default, Deserialize)]
struct Configuration {
    #[serde(default)]
    program: Program,
    /// Whether workers there reach no network.
    #[serde(default)]
    push: bool,
}

/// Fetches `$1` to `./spinor-pilot`, whose SHA-256 must be `$2`.
const FETCH: &str = r#"fetch() {
    for again in 1 2 3 4 5; do
        curl --fail --silent --show-error --location ${X509_CERT_DIR:+--capath "$X509_CERT_DIR"} --output spinor-pilot "$1" ||
            wget --quiet --output-document spinor-pilot "$1" || { sleep $((again * 3)); continue; }
        echo "$2  spinor-pilot" | sha256sum --check --quiet && chmod 700 spinor-pilot && return 0
    done
    echo "pilot: cannot bring $1" >&2
    return 1
}
"#;

/// Takes the program from `$1`, where the server put it.
const TAKE: &str = r#"take() {
    cp "$1" spinor-pilot && echo "$2  spinor-pilot" | sha256sum --check --quiet && chmod 700 spinor-pilot
}
"#;

/// The script of a pilot. `directives` are lines that the batch system reads from its top; `at_end` is
/// what it does last, with its exit code in `$?`.
///
/// Its secret is in the script alone, never in arguments or the environment.
pub fn script<'a>(
    directives: &[String],
    at_end: &str,
    pilot: &Pilot,
    ways: impl Into<Ways<'a>>,
) -> String {
    let Pilot { stamp, configuration, .. } = pilot;
    let Ways { worker, shared } = ways.into();
    let told: Configuration = serde_json::from_str(configuration).unwrap_or_default();
    let shared = shared.filter(|_| told.push);
    let mut text = "#!/bin/sh\n".to_owned();
    for directive in directives {
        text.push_str(directive);
        text.push('\n');
    }
    let scratch = match &worker.scratch {
        Some(scratch) => quoted(scratch),
        None => "${TMPDIR:-/tmp}".to_owned(),
    };
    let mut at_end = at_end.to_owned();
    if let Some(shared) = shared {
        let spool = quoted(&names::prefix(shared, stamp));
        text.push_str(&format!("export SPINOR_SPOOL={spool}\n"));
        at_end.push_str("; rm -f \"$SPINOR_SPOOL\".[0-9]*");
    }
    text.push_str(&format!(
        "umask 077\nhome={scratch}/spinor-{stamp}\nmkdir -p \"$home\" && cd \"$home\" || exit 70\n\
         ended() {{ {at_end}; cd /; rm -rf \"$home\"; }}\ntrap ended EXIT\ntrap : TERM\nexport HOME=\"$home\"\n\
         cat > pilot.json <<'SPINOR'\n{}\nSPINOR\n{}\n",
        configuration.replace('\n', " "),
        worker.preamble
    ));
    match &worker.program {
        Some(program) => text.push_str(&format!("ln -s {} spinor-pilot\n", quoted(program))),
        None => text.push_str(&brought(&told.program, shared)),
    }
    text.push_str("\"$home/spinor-pilot\" \"$home/pilot.json\"\n");
    text
}

/// Brings the program.
fn brought(Program { url, sha256 }: &Program, shared: Option<&str>) -> String {
    let Some(shared) = shared else {
        return format!("{FETCH}fetch {} {} || exit 71\n", quoted(url), quoted(sha256));
    };
    let file = quoted(&names::common(shared, sha256));
    format!("{TAKE}take {file} {} || exit 71\n", quoted(sha256))
}

/// A word as the shell reads it back.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn pilot() -> Pilot {
        Pilot {
            stamp: "ab12".to_owned(),
            queue: "short".to_owned(),
            cores: 2,
            memory_mib: 2000,
            wall_seconds: 3601,
            configuration:
                r#"{"program":{"url":"https://spinor.example.org/x","sha256":"0a"},"a":"it's"}"#
                    .to_owned(),
            attributes: Vec::new(),
        }
    }

    #[test]
    fn brings_what_was_told_and_nothing_gets_out_of_its_quotes() {
        let text = script(&["#SBATCH --mem=1".to_owned()], ":", &pilot(), &Worker::default());
        assert!(text.starts_with("#!/bin/sh\n#SBATCH --mem=1\numask 077\n"), "{text}");
        assert!(text.contains("fetch 'https://spinor.example.org/x' '0a' || exit 71\n"), "{text}");
        let worker = Worker {
            program: Some("/cvmfs/it's/spinor-pilot".to_owned()),
            scratch: Some("/scratch/a b".to_owned()),
            preamble: "module load x".to_owned(),
        };
        let text = script(&[], ":", &pilot(), &worker);
        assert!(text.contains(r"ln -s '/cvmfs/it'\''s/spinor-pilot' spinor-pilot"), "{text}");
        assert!(text.contains("home='/scratch/a b'/spinor-ab12\n") && !text.contains("fetch"));
        assert!(text.contains("\nmodule load x\n"));
    }

    #[test]
    fn without_a_network_all_comes_by_files() {
        let worker = Worker::default();
        let ways = Ways { worker: &worker, shared: Some("/shared/vo/") };
        assert!(script(&[], ":", &pilot(), ways).contains("fetch"));
        let configuration = pilot().configuration.replace("{\"program", "{\"push\":true,\"program");
        let text = script(&[], ":", &Pilot { configuration, ..pilot() }, ways);
        assert!(text.contains("export SPINOR_SPOOL='/shared/vo/spinor-ab12'\n"), "{text}");
        assert!(text.contains("take '/shared/vo/spinor.0a' '0a' || exit 71\n"), "{text}");
        assert!(text.contains("ended() { :; rm -f \"$SPINOR_SPOOL\".[0-9]*; cd /;"), "{text}");
        assert!(!text.contains("fetch"), "{text}");
    }
}

use super::*;
use crate::batch::script;
use std::cell::RefCell;

/// Answers as Slurm 22.05 does, and remembers what it was asked.
struct Recorded {
    answers: RefCell<Vec<Result<Ran, Trouble>>>,
    asked: RefCell<Vec<String>>,
}

impl Recorded {
    fn of(answers: &[(i32, &str, &str)]) -> Self {
        let ran = |(code, out, err): &(i32, &str, &str)| {
            Ok(Ran { code: Some(*code), stdout: (*out).to_owned(), stderr: (*err).to_owned() })
        };
        Self { answers: RefCell::new(answers.iter().map(ran).collect()), asked: RefCell::default() }
    }
}

impl Shell for Recorded {
    fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ran, Trouble> {
        let stdin = String::from_utf8_lossy(stdin);
        self.asked.borrow_mut().push(format!("{program} {} {stdin}", arguments.join(" ")));
        self.answers.borrow_mut().remove(0)
    }

    fn read(&self, path: &str, _: u64, _: u32) -> Result<Vec<u8>, Error> {
        Ok(path.as_bytes().to_vec())
    }
}

fn cluster(more: &str) -> Cluster {
    serde_json::from_str(&format!(r#"{{"directory": "/shared/vo"{more}}}"#)).unwrap()
}

#[test]
fn asks_for_what_the_pilot_is_to_have() {
    let shell = Recorded::of(&[(0, "17;loop\n", "")]);
    let cluster = cluster(r#", "account": "atlas", "options": ["qos=grid"]"#);
    let slurm = Slurm { shell: &shell, cluster: &cluster };
    let pilot = script::tests::pilot();
    assert_eq!(slurm.submit(&[pilot]).unwrap(), [Submission::Submitted("17:ab12".to_owned())]);
    let asked = shell.asked.borrow()[0].clone();
    for option in [
        "job-name=spinor-ab12",
        "partition=short",
        "cpus-per-task=2",
        "mem=2000M",
        "time=61",
        "output=/shared/vo/spinor-ab12.out",
        "no-requeue",
        "account=atlas",
        "qos=grid",
    ] {
        assert!(asked.contains(&format!("\n#SBATCH --{option}\n")), "{option}: {asked}");
    }
}

#[test]
fn a_submission_that_was_cut_off_is_not_taken_for_refused() {
    let said = [
        "sbatch: error: Batch job submission failed: Invalid partition name specified",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        "it is not asked",
    ];
    let shell = Recorded::of(&said.map(|words| (1, "", words)));
    let cluster = cluster("");
    let slurm = Slurm { shell: &shell, cluster: &cluster };
    let answers = slurm.submit(&[0; 3].map(|_| script::tests::pilot())).unwrap();
    let [Submission::Refused(_), Submission::Unknown(_), Submission::Refused(why)] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert!(why.starts_with("not tried"), "{why}");
}

#[test]
fn what_squeue_forgot_is_asked_of_the_history_and_one_item_spoils_no_other() {
    let listed =
        "1|PENDING|JobHeldUser\n2|RUNNING|None\n3|FAILED|NonZeroExitCode\n9|LEVITATING|None\n";
    let remembered = "4|CANCELLED by 1000|0:0\n5|TIMEOUT|0:15\n";
    let shell = Recorded::of(&[(0, listed, ""), (0, remembered, "")]);
    let cluster = cluster("");
    let slurm = Slurm { shell: &shell, cluster: &cluster };
    let asked = ["1:a", "2:b", "3:c", "9:d", "4:e", "5:f", "6:g"].map(str::to_owned);
    let states = slurm.status(&asked).unwrap();
    assert_eq!(
        states,
        [
            PilotState::Aborted("PENDING (JobHeldUser)".to_owned()),
            PilotState::Running,
            PilotState::Failed("FAILED (NonZeroExitCode)".to_owned()),
            PilotState::Unknown("LEVITATING".to_owned()),
            PilotState::Aborted("CANCELLED by 1000".to_owned()),
            PilotState::Failed("TIMEOUT (exit code 0:15)".to_owned()),
            PilotState::Unknown("Slurm does not know it".to_owned()),
        ]
    );
    assert!(shell.asked.borrow()[1].contains("--jobs=4,5,6"));
}

#[test]
fn a_controller_that_is_down_makes_nobody_unknown() {
    let down = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)";
    let shell = Recorded::of(&[
        (1, "", down),
        (1, "", "slurm_load_jobs error: Invalid job id specified"),
        (1, "", "x"),
    ]);
    let cluster = cluster("");
    let slurm = Slurm { shell: &shell, cluster: &cluster };
    assert!(matches!(slurm.status(&["1:a".to_owned()]), Err(Error::Unavailable(_))));
    let forgotten = slurm.status(&["1:a".to_owned()]).unwrap();
    assert!(matches!(&forgotten[..], [PilotState::Unknown(_)]));
}

/// All words of `man squeue` of 22.05 and 24.11.
#[test]
fn every_documented_state_has_a_meaning() {
    let words = "BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE EXPEDITING FAILED \
        LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PENDING POWER_UP_NODE PREEMPTED RECONFIG_FAIL RUNNING \
        RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT \
        STAGE_OUT STOPPED SUSPENDED TIMEOUT UPDATE_DB";
    for word in words.split_whitespace() {
        assert!(!matches!(state(word, ""), PilotState::Unknown(_)), "{word}");
    }
}

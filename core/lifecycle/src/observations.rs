//! What policies decided and guests wrote is kept: sampled, bounded, and without secrets.

use crate::{Lifecycle, LifecycleError, lock};
use spinor_model::{
    id::{Digest, VoName},
    policy::{Alarm, Decision, GuestLine, LogLevel, Observer, Question},
};
use spinor_store::Observed;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};
use tokio::sync::mpsc;

/// Decisions taken on between two rounds of keeping, a VO; more are left out.
const MAX_DECISIONS: usize = 500;

/// Lines taken on between two rounds of keeping, a VO; more are left out, and counted.
const MAX_LINES: usize = 200;

/// Decisions kept of each place, and lines kept of each VO.
const KEPT: u32 = 2_000;

/// Takes note of what policies do, without holding anyone up.
pub struct Observations {
    taken: Mutex<Taken>,
    alarms: mpsc::UnboundedSender<Alarm>,
}

#[derive(Default)]
struct Taken {
    decisions: Vec<Decision>,
    lines: Vec<GuestLine>,
    counts: HashMap<VoName, Counts>,
}

#[derive(Default)]
struct Counts {
    decisions: usize,
    lines: usize,
    lines_left_out: usize,
}

impl Observations {
    /// Nothing observed yet; alarms come out of the second.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Alarm>) {
        let (alarms, received) = mpsc::unbounded_channel();
        (Self { taken: Mutex::default(), alarms }, received)
    }

    fn take(&self) -> Observed {
        let Taken { decisions, mut lines, counts } = std::mem::take(&mut *lock(&self.taken));
        for (vo, counts) in counts {
            if counts.lines_left_out > 0 {
                let message = format!("{} more lines were left out", counts.lines_left_out);
                let (plugin, level) = ("spinor".to_owned(), LogLevel::Warn);
                lines.push(GuestLine { vo, plugin, level, message });
            }
        }
        // The same question, answered the same by the same version, is kept once.
        let keyed: BTreeMap<Digest, Decision> = decisions
            .into_iter()
            .filter_map(without_secrets)
            .filter_map(|d| Some((key(&d)?, d)))
            .collect();
        Observed { decisions: keyed.into_iter().collect(), lines }
    }
}

fn key(decision: &Decision) -> Option<Digest> {
    let parts = (&decision.path, &decision.decider, &decision.question);
    serde_json::to_vec(&parts).ok().map(|bytes| Digest::of(&bytes))
}

impl Observer for Observations {
    fn decided(&self, decision: Decision) {
        let mut taken = lock(&self.taken);
        let counts = taken.counts.entry(decision.vo.clone()).or_default();
        counts.decisions += 1;
        if counts.decisions <= MAX_DECISIONS {
            taken.decisions.push(decision);
        }
    }

    fn wrote(&self, line: GuestLine) {
        let mut taken = lock(&self.taken);
        let counts = taken.counts.entry(line.vo.clone()).or_default();
        counts.lines += 1;
        if counts.lines <= MAX_LINES {
            taken.lines.push(line);
        } else {
            counts.lines_left_out += 1;
        }
    }

    fn alarmed(&self, alarm: Alarm) {
        let Alarm { vo, path, decider, concern, reason } = &alarm;
        tracing::warn!(%vo, %path, plugin = %decider, ?concern, reason, "alarm");
        // Nobody listens when the server stops.
        drop(self.alarms.send(alarm));
    }
}

/// Words in the names of fields whose values are nobody's business.
const SECRET: [&str; 6] = ["secret", "password", "passwd", "token", "credential", "private"];

/// What a description says under a telling name is replaced, as it was sent and as its handler
/// normalised it; the rest of the decision stays. What cannot be read cannot be cleared: it is left out.
fn without_secrets(mut decision: Decision) -> Option<Decision> {
    let text = match &mut decision.question {
        Question::Admission { submitted } => &mut submitted.description,
        Question::Conclusion { template, .. } => template,
        Question::Verdicts { .. } | Question::Effect { .. } => return Some(decision),
    };
    let mut description = serde_json::from_str(text).ok()?;
    redact(&mut description);
    *text = description.to_string();
    Some(decision)
}

fn redact(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.to_lowercase();
                match SECRET.iter().any(|word| name.contains(word)) {
                    true => *value = "redacted".into(),
                    false => redact(value),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

impl Lifecycle {
    /// Keeps what was observed since the last round.
    pub async fn keep_observed(&self) -> Result<(), LifecycleError> {
        // Whoever comes second waits until what the first one took can be read.
        let _turn = self.keeping.lock().await;
        let observed = self.observations.take();
        if observed.decisions.is_empty() && observed.lines.is_empty() {
            return Ok(());
        }
        Ok(self.store.observe(observed, KEPT, self.now()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spinor_model::policy::{Answer, Conclusion};

    #[test]
    fn a_telling_name_hides_its_value_wherever_it_is() {
        let mut value = serde_json::json!({
            "arguments": ["--fast"],
            "environment": {"API_TOKEN": "s3cret", "HOME": "/home/ada"},
            "steps": [{"db_password": {"nested": "s3cret"}}],
        });
        redact(&mut value);
        let text = value.to_string();
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("/home/ada") && text.contains("--fast"), "{text}");
    }

    #[test]
    fn no_secret_is_kept_of_what_is_sent_nor_of_what_is_judged() {
        let (observations, _alarms) = Observations::new();
        let description = r#"{"environment": {"API_TOKEN": "s3cret"}}"#.to_owned();
        let decider = serde_json::json!({"plugin": "handling/x", "version": "1.0.0",
            "digest": Digest::of(b"x"), "settings": Digest::of(b"{}")});
        let decided = |question: serde_json::Value| Decision {
            vo: "vo".parse().unwrap(),
            path: "handling.x".parse().unwrap(),
            decider: serde_json::from_value(decider.clone()).unwrap(),
            question: serde_json::from_value(question).unwrap(),
            answer: Answer::Conclusion(Conclusion::Done),
            cost_us: 1,
        };
        let attempt = serde_json::json!({"number": 1, "limit": 1, "ending": {"how": "exited", "code": 0},
            "site": "A", "missing_outputs": [], "stderr_tail": ""});
        let submitted = serde_json::json!({"description": description, "vo": "vo", "group": "g",
            "owner": "o", "max_jobs": 1});
        let judged = |template: &str| serde_json::json!({"conclusion": {"template": template, "attempt": attempt}});
        observations.decided(decided(serde_json::json!({"admission": {"submitted": submitted}})));
        observations.decided(decided(judged(&description)));
        observations.decided(decided(judged("no JSON: s3cret")));
        let kept = observations.take().decisions;
        assert_eq!(kept.len(), 2, "{kept:?}");
        assert!(!format!("{kept:?}").contains("s3cret"), "{kept:?}");
    }

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let (observations, _alarms) = Observations::new();
        for i in 0..1_000 {
            observations.wrote(GuestLine {
                vo: "vo".parse().unwrap(),
                plugin: "p".to_owned(),
                level: LogLevel::Info,
                message: format!("line {i}"),
            });
        }
        let lines = observations.take().lines;
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines.last().unwrap().message, "800 more lines were left out");
        assert!(observations.take().lines.is_empty(), "the next round begins anew");
    }
}

//! Secrets of the pilots that a call submits: put into what the guest sends, taken out of what comes
//! back.

use spinor_model::policy::{PilotRequest, Placeholder};

/// What stands for a secret, and the secret.
#[derive(Debug, Clone, Default)]
pub struct PilotSecrets(Vec<(String, Placeholder)>);

impl PilotSecrets {
    /// Those of these pilots.
    pub fn of(pilots: &[PilotRequest]) -> Self {
        let own = |p: &PilotRequest| (Placeholder::mark(&p.stamp), p.secret.clone());
        Self(pilots.iter().map(own).collect())
    }

    /// That of one pilot alone.
    pub fn only(&self, stamp: &str) -> Self {
        let mark = format!("{{{{pilot-secret:{stamp}}}}}");
        Self(self.0.iter().filter(|(own, _)| *own == mark).cloned().collect())
    }

    /// Text with secrets in place of their marks.
    pub fn put_in(&self, bytes: &[u8]) -> Vec<u8> {
        let pairs = self.0.iter().map(|(mark, secret)| (mark.as_bytes(), secret.0.as_bytes()));
        pairs.fold(bytes.to_vec(), |text, (mark, secret)| replaced(text, mark, secret))
    }

    /// Text with marks in place of their secrets.
    pub fn take_out(&self, bytes: Vec<u8>) -> Vec<u8> {
        let pairs = self.0.iter().map(|(mark, secret)| (mark.as_bytes(), secret.0.as_bytes()));
        pairs.fold(bytes, |text, (mark, secret)| replaced(text, secret, mark))
    }
}

/// Bytes with every `old` made `new`.
pub fn replaced(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], old) {
        bytes.splice(from + at..from + at + old.len(), new.iter().copied());
        from += at + new.len();
    }
    bytes
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    if wanted.is_empty() {
        return None;
    }
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
impl<'a> FromIterator<(&'a str, &'a str)> for PilotSecrets {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let own = |(stamp, secret): (&str, &str)| {
            (format!("{{{{pilot-secret:{stamp}}}}}"), Placeholder(secret.to_owned()))
        };
        Self(pairs.into_iter().map(own).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_secret_goes_where_its_own_mark_is_and_never_comes_back() {
        let secrets = PilotSecrets::from_iter([("a", "alpha"), ("b", "beta")]);
        let sent = secrets.put_in(b"x {{pilot-secret:b}} {{pilot-secret:a}} {{pilot-secret:c}}");
        assert_eq!(sent, b"x beta alpha {{pilot-secret:c}}");
        assert_eq!(
            secrets.take_out(sent),
            b"x {{pilot-secret:b}} {{pilot-secret:a}} {{pilot-secret:c}}"
        );
        let one = secrets.only("a").put_in(b"{{pilot-secret:b}} {{pilot-secret:a}}");
        assert_eq!(one, b"{{pilot-secret:b}} alpha");
    }
}

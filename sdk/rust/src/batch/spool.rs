//! Files beside pilots in a directory that the account and its workers have in common, by `find` and
//! GNU's `dd`.
//!
//! A pilot's are `spinor-STAMP.NAME`, those for all pilots `spinor.NAME`.

use super::{Shell, names};
use crate::{
    Error,
    computing::{File, Listed},
};

/// The directory, where programs run.
pub struct Directory<'a, S> {
    /// Runs them.
    pub shell: &'a S,
    /// Its path.
    pub path: &'a str,
}

/// A file by its name in the directory.
fn file(name: &str) -> Option<File> {
    let rest = name.strip_prefix("spinor")?;
    if let Some(name) = rest.strip_prefix('.') {
        return Some(File { pilot: None, name: name.to_owned() });
    }
    let (stamp, name) = rest.strip_prefix('-')?.split_once('.')?;
    Some(File { pilot: Some(stamp.to_owned()), name: name.to_owned() })
}

/// A line of `find`: a name and bytes.
fn listed(line: &str) -> Option<Listed> {
    let (name, size) = line.split_once(' ')?;
    Some(Listed { file: file(name)?, size: size.parse().ok()? })
}

impl<S: Shell> Directory<'_, S> {
    fn path(&self, file: &File) -> String {
        match &file.pilot {
            Some(stamp) => names::file(self.path, stamp, &file.name),
            None => names::common(self.path, &file.name),
        }
    }

    /// What pilots ask and are answered, and files for all.
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        let either = ["-name", "spinor-*.re[qs]*", "-o", "-name", "spinor.*"];
        let asked = [
            &[self.path, "-ignore_readdir_race", "-maxdepth", "1", "("],
            &either[..],
            &[")", "-printf", "%f %s\\n"],
        ];
        Ok(self.shell.ask("find", &asked.concat())?.lines().filter_map(listed).collect())
    }

    /// Part of a file.
    pub fn read(&self, file: &File, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        self.shell.read(&self.path(file), offset, max)
    }

    /// Writes part of a file.
    pub fn write(&self, file: &File, offset: u64, content: &[u8]) -> Result<(), Error> {
        let (to, seek) = (format!("of={}", self.path(file)), format!("seek={offset}"));
        let more: &[&str] = if offset == 0 { &[] } else { &["conv=notrunc"] };
        let asked = [to.as_str(), &seek, "bs=65536", "oflag=seek_bytes", "iflag=fullblock"];
        let ran = self.shell.run("dd", &[&asked, more, &["status=none"]].concat(), content)?;
        match ran.is_good() {
            true => Ok(()),
            false => Err(Error::Unavailable(format!("dd: {}", ran.stderr))),
        }
    }

    /// Takes a file away.
    pub fn remove(&self, file: &File) -> Result<(), Error> {
        self.shell.ask("rm", &["-f", &self.path(file)]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Ran, Trouble};
    use std::cell::RefCell;

    #[derive(Default)]
    struct Noted(RefCell<Vec<String>>);

    impl Shell for Noted {
        fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ran, Trouble> {
            let stdin = String::from_utf8_lossy(stdin);
            self.0.borrow_mut().push(format!("{program} {} <{stdin}", arguments.join(" ")));
            let stdout = "spinor-ab.3.request 40\nspinor.0f 7\nspinor-ab.out\nother 1\n".to_owned();
            Ok(Ran { code: Some(0), stdout, stderr: String::new() })
        }

        fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
            Ok(format!("{path} {offset} {max}").into_bytes())
        }
    }

    #[test]
    fn files_have_their_places() {
        let shell = Noted::default();
        let directory = Directory { shell: &shell, path: "/shared/" };
        let (own, all) = (
            File { pilot: Some("ab".to_owned()), name: "3.request".to_owned() },
            File { pilot: None, name: "0f".to_owned() },
        );
        let listed = directory.list().unwrap();
        let expected = [(own.clone(), 40), (all.clone(), 7)];
        assert_eq!(listed, expected.map(|(file, size)| Listed { file, size }));
        assert_eq!(directory.read(&own, 5, 6).unwrap(), b"/shared/spinor-ab.3.request 5 6");
        directory.write(&all, 0, b"x").unwrap();
        directory.write(&all, 1, b"y").unwrap();
        let common = "bs=65536 oflag=seek_bytes iflag=fullblock";
        let said = shell.0.borrow();
        assert_eq!(said[1], format!("dd of=/shared/spinor.0f seek=0 {common} status=none <x"));
        let more = "conv=notrunc status=none";
        assert_eq!(said[2], format!("dd of=/shared/spinor.0f seek=1 {common} {more} <y"));
    }
}

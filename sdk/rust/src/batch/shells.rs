//! The two places where programs run: the server's machine, and one behind SSH.

use super::{Ran, Shell, Trouble};
use crate::{
    Error,
    computing::{
        command::{self, CommandError, Completion, Invocation},
        ssh::{self, RemoteInvocation},
    },
};

fn ran(completion: Completion) -> Result<Ran, Trouble> {
    if !completion.complete {
        let why = "its output is larger than the grant's `max_kb`: it was cut".to_owned();
        return Err(Trouble::Unsure(why));
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let stderr = text(completion.stderr).trim().to_owned();
    Ok(Ran { code: completion.code, stdout: text(completion.stdout), stderr })
}

fn trouble(error: CommandError) -> Trouble {
    match error {
        CommandError::Denied(why) => Trouble::NotRun(why),
        CommandError::TimedOut => Trouble::Unsure("it took too long and was ended".to_owned()),
        CommandError::Other(why) => Trouble::Unsure(why),
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Runs a program on the server's machine, with files beside it.
pub fn run_with_files(
    program: &str,
    arguments: &[&str],
    stdin: &[u8],
    files: Vec<(String, Vec<u8>)>,
) -> Result<Ran, Trouble> {
    let invocation = Invocation {
        program: program.to_owned(),
        arguments: owned(arguments),
        stdin: stdin.to_vec(),
        files,
        timeout_ms: 0,
    };
    ran(command::run(&invocation).map_err(trouble)?)
}

/// Programs on the server's machine, by capability `command`.
pub struct Here;

impl Shell for Here {
    fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ran, Trouble> {
        run_with_files(program, arguments, stdin, Vec::new())
    }

    /// With GNU's `dd`, which must be granted under that name.
    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        let (from, skip, count) =
            (format!("if={path}"), format!("skip={offset}"), format!("count={max}"));
        let arguments =
            [from.as_str(), &skip, &count, "iflag=skip_bytes,count_bytes", "status=none"];
        let invocation = Invocation {
            program: "dd".to_owned(),
            arguments: owned(&arguments),
            stdin: Vec::new(),
            files: Vec::new(),
            timeout_ms: 0,
        };
        let done = command::run(&invocation).map_err(trouble)?;
        match done.code {
            Some(0) => Ok(done.stdout),
            _ => Err(Error::Other(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
        }
    }
}

/// Programs on another machine, by capability `ssh`.
pub struct There<'a> {
    /// The grant's name of the account.
    pub endpoint: &'a str,
}

impl Shell for There<'_> {
    fn run(&self, program: &str, arguments: &[&str], stdin: &[u8]) -> Result<Ran, Trouble> {
        let mut command = owned(&[program]);
        command.extend(owned(arguments));
        let invocation = RemoteInvocation {
            endpoint: self.endpoint.to_owned(),
            command,
            stdin: stdin.to_vec(),
            timeout_ms: 0,
        };
        ran(ssh::run(&invocation).map_err(trouble)?)
    }

    fn read(&self, path: &str, offset: u64, max: u32) -> Result<Vec<u8>, Error> {
        Ok(ssh::get(self.endpoint, path, offset, max).map_err(trouble)?)
    }
}

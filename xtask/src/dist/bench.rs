//! A folder for tests of products, and the ways of starting a peer there: directly, under an
//! emulator, or with a folder as its root.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use super::image::USER;
use crate::children;
use crate::failure::Failure;

/// A folder below `target` that exists for the duration of a test.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
}

/// A way to start a peer there.
#[derive(Debug)]
pub(crate) struct Way {
    /// The words before the arguments: the program, after the program that runs it.
    words: Vec<OsString>,
    /// The folder of its sockets, as the peer sees it.
    sockets: PathBuf,
    /// The folder of its output.
    logs: PathBuf,
}

impl Bench {
    /// A new one.
    pub(crate) fn new(root: &Path, name: &str) -> Result<Self, Failure> {
        let folder = root.join("target").join(format!("trial-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.parent().expect("it is below target"))
            .map_err(Failure::io("target"))?;
        // It must not exist: its content is removed in the end.
        fs::create_dir(&folder).map_err(Failure::io(folder.display().to_string()))?;
        Ok(Self { folder })
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Unpacks a tarball and returns the folder in it.
    pub(crate) fn unpack(&self, tarball: &Path) -> Result<PathBuf, Failure> {
        succeed(Command::new("tar").arg("-C").arg(&self.folder).arg("-xzf").arg(tarball))?;
        let mut entries =
            fs::read_dir(&self.folder).map_err(Failure::io("the unpacked tarball"))?.flatten();
        entries.next().map(|entry| entry.path()).ok_or_else(|| unmet("the tarball is empty"))
    }

    /// A program outside of a root, started by `runner` if it is for another machine.
    pub(crate) fn program(&self, program: &Path, runner: Option<&Path>) -> Way {
        let words = runner
            .map(Path::as_os_str)
            .into_iter()
            .chain([program.as_os_str()])
            .map(OsStr::to_owned)
            .collect();
        self.way(words, self.folder.clone())
    }

    /// A program whose root is this folder, run as the user of the image. A package has no folder
    /// for the sockets of services; systemd creates it, so it is created here.
    pub(crate) fn confined(
        &self,
        root: &Path,
        program: &str,
        runner: Option<&Path>,
        is_bare: bool,
    ) -> Result<Way, Failure> {
        let mut words: Vec<OsString> =
            vec!["chroot".into(), format!("--userspec={USER}:{USER}").into(), root.into()];
        if is_bare {
            let sockets = root.join("run/sensor-peers");
            fs::create_dir_all(&sockets).map_err(Failure::io("the folder of sockets"))?;
            chown(&sockets, Some(USER), Some(USER))
                .map_err(Failure::io("the folder of sockets"))?;
        }
        if let Some(runner) = runner {
            fs::copy(runner, root.join("emulator")).map_err(Failure::io("the emulator"))?;
            words.push("/emulator".into());
        }
        words.push(program.into());
        Ok(self.way(words, "/run/sensor-peers".into()))
    }

    fn way(&self, words: Vec<OsString>, sockets: PathBuf) -> Way {
        Way { words, sockets, logs: self.folder.clone() }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It was created here, and no process uses it any more.
        let _in_the_way_of_nobody = fs::remove_dir_all(&self.folder);
    }
}

impl Way {
    /// The beginning of a command line of the peer.
    pub(crate) fn command(&self) -> Command {
        let (program, words) = self.words.split_first().expect("there is a program");
        // So that it does not outlive this process.
        let mut command = children::command(program);
        command.args(words).env("PEER_SOCKETS", &self.sockets);
        command
    }

    /// Runs a command of the peer to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<ExitStatus> {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    }

    /// The status of a peer that runs there; null if it does not answer.
    pub(crate) fn status(&self, id: &str) -> Value {
        let output = self.command().args(["status", "--id", id, "--json"]).output();
        output
            .ok()
            .and_then(|output| serde_json::from_slice(&output.stdout).ok())
            .unwrap_or_default()
    }

    /// The file with the output of a peer.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.logs.join(format!("{id}.log"))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(|word| word.to_string_lossy()).collect();
        f.write_str(&words.join(" "))
    }
}

/// Runs a command that must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status =
        command.status().map_err(Failure::io(format!("cannot run {:?}", command.get_program())))?;
    if status.success() { Ok(()) } else { Err(unmet(&format!("{command:?} failed: {status}"))) }
}

/// A failed requirement of a product.
pub(crate) fn unmet(words: &str) -> Failure {
    Failure::Stage { stage: "dist", how: words.to_owned() }
}

//! Where products are tried, and how a peer is started there: as it lies, under an emulator, or
//! with a folder as its root.

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

/// A folder below `target` that is there for as long as somebody tries something in it.
#[derive(Debug)]
pub(crate) struct Bench {
    folder: PathBuf,
}

/// How to start a peer there.
#[derive(Debug)]
pub(crate) struct Way {
    /// What stands in front of the arguments: the program, behind what runs it.
    words: Vec<OsString>,
    /// Where its sockets are, as it sees that itself.
    sockets: PathBuf,
    /// Where what it says is kept.
    logs: PathBuf,
}

impl Bench {
    /// A new one.
    pub(crate) fn new(root: &Path, name: &str) -> Result<Self, Failure> {
        let folder = root.join("target").join(format!("trial-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.parent().expect("it is below target"))
            .map_err(Failure::io("target"))?;
        // It must not be there: what it holds in the end is removed.
        fs::create_dir(&folder).map_err(Failure::io(folder.display().to_string()))?;
        Ok(Self { folder })
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Unpacks a tarball and gives the folder in it.
    pub(crate) fn unpack(&self, tarball: &Path) -> Result<PathBuf, Failure> {
        succeed(Command::new("tar").arg("-C").arg(&self.folder).arg("-xzf").arg(tarball))?;
        let mut entries =
            fs::read_dir(&self.folder).map_err(Failure::io("the unpacked tarball"))?.flatten();
        entries.next().map(|entry| entry.path()).ok_or_else(|| unmet("the tarball is empty"))
    }

    /// A program, as it lies there, started by `runner` where it is for another machine.
    pub(crate) fn program(&self, program: &Path, runner: Option<&Path>) -> Way {
        let words = runner
            .map(Path::as_os_str)
            .into_iter()
            .chain([program.as_os_str()])
            .map(OsStr::to_owned)
            .collect();
        self.way(words, self.folder.clone())
    }

    /// A program that has nothing but this folder as its root, and runs as the user of the image. A
    /// package has no folder for the sockets of services; systemd makes it, so it is made here.
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
        // It was made here, and nobody is left in it.
        let _in_the_way_of_nobody = fs::remove_dir_all(&self.folder);
    }
}

impl Way {
    /// The beginning of a command of the peer.
    pub(crate) fn command(&self) -> Command {
        let (program, words) = self.words.split_first().expect("there is a program");
        // So that it does not outlive this process.
        let mut command = children::command(program);
        command.args(words).env("PEER_SOCKETS", &self.sockets);
        command
    }

    /// How a command of the peer ends there.
    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<ExitStatus> {
        self.command()
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    }

    /// What a peer that runs there says of itself; nothing if it does not answer.
    pub(crate) fn status(&self, id: &str) -> Value {
        let output = self.command().args(["status", "--id", id, "--json"]).output();
        output
            .ok()
            .and_then(|output| serde_json::from_slice(&output.stdout).ok())
            .unwrap_or_default()
    }

    /// The file in which is kept what a peer says.
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

/// A product does not do what it should.
pub(crate) fn unmet(words: &str) -> Failure {
    Failure::Stage { stage: "dist", how: words.to_owned() }
}

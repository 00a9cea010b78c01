//! What was made is tried: unpacked or installed into a folder of its own, where two peers form a group on loopback, one
//! publishes, the other is handed its readings, and both leave.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

use super::image::USER;
use super::target::find;
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
}

impl Bench {
    /// A new one.
    pub(crate) fn new(root: &Path, name: &str) -> Result<Self, Failure> {
        let folder = root.join("target").join(format!("trial-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.parent().expect("it is below target")).map_err(Failure::io("target"))?;
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
        let mut entries = fs::read_dir(&self.folder).map_err(Failure::io("the unpacked tarball"))?.flatten();
        entries.next().map(|entry| entry.path()).ok_or_else(|| unmet("the tarball is empty"))
    }

    /// A program, as it lies there, started by `runner` where it is for another machine.
    pub(crate) fn program(&self, program: &Path, runner: Option<&Path>) -> Way {
        let words = runner.map(Path::as_os_str).into_iter().chain([program.as_os_str()]).map(OsStr::to_owned).collect();
        Way { words, sockets: self.folder.clone() }
    }

    /// A program that has nothing but this folder as its root, and runs as the user of the image. A package has no folder for
    /// the sockets of services; systemd makes it, so it is made here.
    pub(crate) fn confined(&self, root: &Path, program: &str, runner: Option<&Path>, is_bare: bool) -> Result<Way, Failure> {
        let mut words: Vec<OsString> = vec!["chroot".into(), format!("--userspec={USER}:{USER}").into(), root.into()];
        if is_bare {
            let sockets = root.join("run/sensor-peers");
            fs::create_dir_all(&sockets).map_err(Failure::io("the folder of sockets"))?;
            chown(&sockets, Some(USER), Some(USER)).map_err(Failure::io("the folder of sockets"))?;
        }
        if let Some(runner) = runner {
            fs::copy(runner, root.join("emulator")).map_err(Failure::io("the emulator"))?;
            words.push("/emulator".into());
        }
        words.push(program.into());
        Ok(Way { words, sockets: "/run/sensor-peers".into() })
    }

    /// Two peers form a group there.
    pub(crate) fn form_a_group(&self, way: &Way) -> Result<(), Failure> {
        // Held, so that nobody else is given the number.
        let lease = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::io("a port"))?;
        let port = lease.local_addr().map_err(Failure::io("a port"))?.port();
        let mut peers = ["trial1", "trial2"].map(|id| self.start(way, id, port)).into_iter().collect::<Result<Vec<_>, _>>()?;
        let what = || format!("what the peers said is above; they were started by {:?}", way.words);
        let formed = until(|| {
            let report = way.status("trial2");
            let members = report["members"].as_array().map_or(0, Vec::len);
            members == 2 && report["deliveries"]["count"].as_u64().is_some_and(|count| count > 2)
        });
        let left = formed && peers.iter_mut().all(Peer::leave);
        if !left {
            peers.iter().for_each(Peer::show);
        }
        match (formed, left) {
            (true, true) => Ok(()),
            (true, false) => Err(unmet(&format!("they do not leave the group in order; {}", what()))),
            (false, _) => Err(unmet(&format!("two peers form no group in which readings are delivered; {}", what()))),
        }
    }

    fn start(&self, way: &Way, id: &str, port: u16) -> Result<Peer, Failure> {
        let log = self.path(&format!("{id}.log"));
        let file = File::create(&log).map_err(Failure::io(log.display().to_string()))?;
        let other = file.try_clone().map_err(Failure::io(log.display().to_string()))?;
        let mut command = way.command();
        command.args([
            "run",
            "--id",
            id,
            "--address",
            "127.0.0.1",
            "--port",
            "0",
            "--timing",
            "fast",
            "--broadcast-port",
            &port.to_string(),
        ]);
        // A change of user has the kernel forget that it was tied to us.
        command.args(["--die-with", &std::process::id().to_string()]);
        command.args(["--sensor", "synthetic", "--interval", "20ms"]).stdin(Stdio::null()).stdout(file).stderr(other);
        let child = command.spawn().map_err(Failure::io(format!("cannot start {:?}", way.words)))?;
        Ok(Peer { child, log })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It was made here, and nobody is left in it.
        let _in_the_way_of_nobody = fs::remove_dir_all(&self.folder);
    }
}

impl Way {
    fn command(&self) -> Command {
        let (program, words) = self.words.split_first().expect("there is a program");
        // So that it does not outlive this process.
        let mut command = children::command(program);
        command.args(words).env("PEER_SOCKETS", &self.sockets);
        command
    }

    fn status(&self, id: &str) -> Value {
        let output = self.command().args(["status", "--id", id, "--json"]).output();
        output.ok().and_then(|output| serde_json::from_slice(&output.stdout).ok()).unwrap_or_default()
    }

    /// How a command of the peer ends there.
    pub(crate) fn run(&self, arguments: &[&str]) -> io::Result<ExitStatus> {
        self.command().args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()
    }
}

struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    fn leave(&mut self) -> bool {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id of Linux fits"));
        let mut status = None;
        kill(pid, Signal::SIGTERM).is_ok()
            && until(|| {
                status = self.child.try_wait().ok().flatten();
                status.is_some()
            })
            && status.is_some_and(|status| status.success())
    }

    fn show(&self) {
        eprintln!("{}:\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Whether it becomes true in time.
fn until(mut done: impl FnMut() -> bool) -> bool {
    let patience = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > patience || children::interrupted() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Why nothing can be confined here, if it cannot.
pub(crate) fn cannot_confine() -> Option<String> {
    (!geteuid().is_root()).then(|| "chroot needs root".to_owned())
}

/// Installs a package into an empty root, with its scripts, and takes it away again; `inside` is done meanwhile.
pub(crate) fn installed(root: &Path, package: &Path, inside: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    for folder in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        fs::create_dir_all(root.join(folder)).map_err(Failure::io(folder))?;
    }
    for file in ["var/lib/dpkg/status", "etc/group", "etc/passwd"] {
        File::create(root.join(file)).map_err(Failure::io(file))?;
    }
    let dpkg = |words: &[&OsStr]| {
        let mut command = Command::new("dpkg");
        let log = root.join("var/log.txt");
        command
            .arg(concat("--root=", root))
            .arg(concat("--log=", &log))
            .args(["--force-script-chrootless", "--force-architecture", "--force-depends"])
            .args(words);
        succeed(command.stdout(Stdio::null()))
    };
    dpkg(&[OsStr::new("--install"), package.as_os_str()])?;
    let group = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
    if !group.lines().any(|line| line.starts_with("sensor-peers:")) {
        return Err(unmet("the package has not made its group"));
    }
    inside()?;
    dpkg(&[OsStr::new("--purge"), OsStr::new("sensor-peers")])?;
    for gone in ["usr/bin/peer", "etc/sensor-peers"] {
        if root.join(gone).exists() {
            return Err(unmet(&format!("/{gone} is left when the package is purged")));
        }
    }
    Ok(())
}

fn concat(flag: &str, path: &Path) -> OsString {
    let mut word = OsString::from(flag);
    word.push(path);
    word
}

/// Looks at the unit, with the program where it lies.
pub(crate) fn judge_unit(bench: &Bench, unit: &Path, program: &Path) -> Result<String, String> {
    let analyze = find("systemd-analyze").ok_or("systemd-analyze is missing (Debian package systemd)")?;
    let text = fs::read_to_string(unit).map_err(|error| error.to_string())?;
    let here = bench.path("peer.service");
    fs::write(&here, text.replace("/usr/bin/peer", &program.display().to_string())).map_err(|error| error.to_string())?;
    let run = |words: &[&str]| {
        let output = Command::new(&analyze).args(words).arg(&here).output().map_err(|error| error.to_string())?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(said) } else { Err(format!("systemd-analyze {}:\n{said}", words.join(" "))) }
    };
    let verified = run(&["verify", "--man=no"])?;
    if !verified.trim().is_empty() {
        return Err(format!("systemd-analyze verify:\n{verified}"));
    }
    let judged = run(&["security", "--offline=true", "--no-pager", &format!("--threshold={EXPOSURE_MAX}")])?;
    Ok(judged.lines().last().unwrap_or_default().trim_start_matches(['→', ' ']).to_owned())
}

/// The image, as a layout in a folder.
#[derive(Debug)]
pub(crate) struct Layout {
    folder: PathBuf,
    /// What describes each machine's image, with its architecture.
    images: Vec<Value>,
}

impl Layout {
    /// Reads the archive.
    pub(crate) fn open(bench: &Bench, archive: &Path) -> Result<Self, Failure> {
        let folder = bench.path("layout");
        fs::create_dir(&folder).map_err(Failure::io("the layout"))?;
        succeed(Command::new("tar").arg("-C").arg(&folder).arg("-xf").arg(archive))?;
        let index = json(&folder.join("index.json"))?;
        let mut images = index["manifests"].as_array().cloned().unwrap_or_default();
        // Several machines stand in an index of their own.
        if let [only] = &images[..]
            && only["platform"].is_null()
        {
            let path = only["digest"].as_str().unwrap_or_default().replace(':', "/");
            images = json(&folder.join("blobs").join(path))?["manifests"].as_array().cloned().unwrap_or_default();
        }
        Ok(Self { folder, images })
    }

    /// Unpacks the image for one architecture, by another program than the one that made it.
    pub(crate) fn unpack(&self, bench: &Bench, architecture: &str) -> Result<Option<PathBuf>, Failure> {
        let Some(image) = self.images.iter().find(|image| image["platform"]["architecture"] == architecture) else { return Ok(None) };
        let mut alone = image.clone();
        alone["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": architecture});
        // `umoci` follows no index to another, so this machine's image stands in the first one, alone.
        let index = serde_json::json!({"schemaVersion": 2, "manifests": [alone]});
        fs::write(self.folder.join("index.json"), index.to_string()).map_err(Failure::io("the layout"))?;
        let bundle = bench.path(architecture);
        let mut name = self.folder.clone().into_os_string();
        name.push(format!(":{architecture}"));
        succeed(Command::new("umoci").args(["unpack", "--image"]).arg(name).arg(&bundle))?;
        let config = json(&bundle.join("config.json"))?;
        if config["process"]["user"]["uid"] != USER || config["process"]["args"] != serde_json::json!(["/usr/bin/peer", "run"]) {
            return Err(unmet(&format!("the image runs something else: {}", config["process"])));
        }
        Ok(Some(bundle.join("rootfs")))
    }
}

fn json(path: &Path) -> Result<Value, Failure> {
    let text = fs::read(path).map_err(Failure::io(path.display().to_string()))?;
    serde_json::from_slice(&text).map_err(|error| unmet(&format!("{}: {error}", path.display())))
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(Failure::io(format!("cannot run {:?}", command.get_program())))?;
    if status.success() { Ok(()) } else { Err(unmet(&format!("{command:?} failed: {status}"))) }
}

fn unmet(words: &str) -> Failure {
    Failure::Stage { stage: "dist", how: words.to_owned() }
}

/// Under an emulator everything takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// In tenths, as `systemd-analyze` counts it.
const EXPOSURE_MAX: u32 = 25;

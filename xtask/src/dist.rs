//! `cargo xtask dist`: the products, in `dist/`. A tarball and a Debian package for each kind of
//! machine, and a container image.
//!
//! The products depend on the sources only: all times are that of the last commit (or
//! `SOURCE_DATE_EPOCH`), so every build of the same commit with the same toolchain yields the same
//! bytes; `--twice` proves it. Products that cannot be built or tested on this machine are
//! reported, with what is missing. Each product is tested by installing it and forming a group with
//! it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use self::archive::{Effort, gzip};
use self::bench::Bench;
use self::contents::Contents;
use self::debian::Package;
use self::group::{Group, try_pair};
use self::image::Image;
use self::target::{Linkage, MACHINES, Machine, PROGRAMS};
use crate::failure::Failure;
use crate::workshop::{Profile, Programs, Workshop};

mod archive;
mod bench;
mod contents;
mod debian;
mod group;
mod image;
mod mixed;
mod target;
mod trial;

/// The options.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Only for these kinds of machine
    #[arg(long, value_parser = MACHINES.map(|machine| machine.name))]
    only: Vec<String>,
    /// Make everything a second time, from nothing and elsewhere, and compare the bytes
    #[arg(long)]
    twice: bool,
    /// Do not try what was made
    #[arg(long)]
    untried: bool,
    /// Make nothing; try these products, which were made before or elsewhere
    #[arg(long = "try", value_name = "FILE", num_args = 1.., exclusive = true)]
    made: Vec<PathBuf>,
    /// Make nothing; check what the tests check, with programs that were built for them
    #[arg(long, exclusive = true)]
    check: bool,
}

/// The products: file name, and kind of machine.
type Products = Vec<(String, Option<Machine>, Vec<u8>)>;

/// Builds the products, and tests them.
pub(crate) fn run(workshop: &Workshop, wish: &Wish) -> Result<ExitCode, Failure> {
    if wish.check {
        return check(workshop, &workshop.build(Profile::Dev, &PROGRAMS)?)
            .map(|()| ExitCode::SUCCESS);
    }
    if !wish.made.is_empty() {
        return try_made(workshop.root(), &wish.made).map(|()| ExitCode::SUCCESS);
    }
    let wanted = |machine: &&Machine| {
        wish.only.is_empty() || wish.only.iter().any(|name| name == machine.name)
    };
    let machines: Vec<&Machine> = MACHINES.iter().filter(wanted).collect();
    let root = workshop.root();
    let mut said = Vec::new();
    // Read once: a commit made meanwhile must not cause a difference between two builds.
    let time = time(root)?;
    let products = make(workshop, &machines, time, &root.join("target/dist-build"), &mut said)?;
    if wish.twice {
        let again = root.join("target/dist-again");
        if again.exists() {
            fs::remove_dir_all(&again).map_err(Failure::io(again.display().to_string()))?;
        }
        compare(&products, &make(workshop, &machines, time, &again, &mut Vec::new())?)?;
        said.push("made twice, in different folders: the same bytes".to_owned());
    }
    let folder = root.join("dist");
    fs::create_dir_all(&folder).map_err(Failure::io("dist"))?;
    for (name, machine, bytes) in &products {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(Failure::io(path.display().to_string()))?;
        eprintln!("made dist/{name}, {:.1} MB", bytes.len() as f64 / 1e6);
        if !wish.untried {
            said.push(try_product(root, &path, machine.as_ref())?);
        }
    }
    if !wish.untried {
        let paths = products.iter().map(|(name, machine, _)| (folder.join(name), *machine));
        said.extend(mixed::try_group(root, &tarballs(paths))?);
    }
    said.iter().for_each(|words| eprintln!("{words}"));
    Ok(ExitCode::SUCCESS)
}

/// Tests existing products.
fn try_made(root: &Path, made: &[PathBuf]) -> Result<(), Failure> {
    let mut products = Vec::new();
    for path in made {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let machine = MACHINES.iter().find(|machine| {
            [format!("-{}-", machine.name), format!("_{}.", machine.debian)]
                .iter()
                .any(|part| name.contains(part))
        });
        let path = path.canonicalize().map_err(Failure::io(name))?;
        eprintln!("{}", try_product(root, &path, machine)?);
        products.push((path, machine.copied()));
    }
    mixed::try_group(root, &tarballs(products.into_iter()))?
        .iter()
        .for_each(|words| eprintln!("{words}"));
    Ok(())
}

/// The tarballs for a known machine among these products.
fn tarballs(products: impl Iterator<Item = (PathBuf, Option<Machine>)>) -> Vec<(Machine, PathBuf)> {
    products
        .filter(|(path, _)| path.to_string_lossy().ends_with(".tar.gz"))
        .filter_map(|(path, machine)| Some((machine?, path)))
        .collect()
}

/// The programs for one kind of machine.
struct Built {
    machine: Machine,
    /// The programs that are installed on machines.
    programs: Programs,
    /// The program in the image.
    alone: Programs,
}

/// Builds everything that can be built here; reports the rest.
fn make(
    workshop: &Workshop,
    machines: &[&Machine],
    time: u64,
    folder: &Path,
    said: &mut Vec<String>,
) -> Result<Products, Failure> {
    let mut all: Vec<Built> = Vec::new();
    for machine in machines {
        let Some(target) = machine.target(workshop) else {
            said.push(format!("not built: {}: {}", machine.name, machine.advice()));
            continue;
        };
        eprintln!("building for {} ({target})", machine.name);
        let wanted = target::programs_for(target);
        let programs = machine.build(workshop, target, wanted, Linkage::of(target), folder)?;
        let lacking = PROGRAMS.into_iter().filter(|name| !wanted.contains(name));
        said.extend(lacking.map(|name| {
            format!("left out: {}: {name}: it does not compile for {target}", machine.name)
        }));
        let alone = machine.build(workshop, target, &["peer"], Linkage::Static, folder)?;
        if Linkage::of(target) == Linkage::Dynamic {
            let read = read_all(&programs)?;
            let library = target::library_needed(read.iter().map(|(_, bytes)| bytes.as_slice()))
                .unwrap_or_default();
            said.push(format!(
                "not static: {}: needs the GNU C library {library} or later; for musl, rustup \
                 target add {}",
                machine.name,
                machine.best()
            ));
        }
        all.push(Built { machine: **machine, programs, alone });
    }
    let here = all
        .iter()
        .find(|built| built.machine.is_here())
        .and_then(|built| built.programs.path("peer").ok());
    let contents = Contents::gather(workshop.root(), here)?;
    said.extend(contents.missing.iter().map(|words| format!("left out: {words}")));
    let version = version(workshop.root())?;
    let asks_ready = here.is_some_and(asks_ready);
    if !asks_ready {
        said.push(
            "left out: the health check of the image: there is no peer here that knows `peer \
                   status --ready`"
                .to_owned(),
        );
    }
    let mut image = Image::new(&version, time, asks_ready);
    let mut products = Products::new();
    for built in &all {
        products.extend(packed(
            &contents,
            (&version, time),
            &built.machine,
            &read_all(&built.programs)?,
            Effort::Best,
        )?);
        let path = built.alone.path("peer")?;
        let peer = fs::read(path).map_err(Failure::io(path.display().to_string()))?;
        image.add(&built.machine, peer).map_err(Failure::io("the image"))?;
    }
    if !all.is_empty() {
        products.push((
            format!("sensor-peers-{version}.oci.tar"),
            None,
            image.tar().map_err(Failure::io("the image"))?,
        ));
    }
    Ok(products)
}

/// The tarball and the package of these programs.
fn packed(
    contents: &Contents,
    (version, time): (&str, u64),
    machine: &Machine,
    programs: &[(&str, Vec<u8>)],
    effort: Effort,
) -> Result<Products, Failure> {
    let name = format!("sensor-peers-{version}-{}-linux", machine.name);
    let tar = contents
        .tarball(&name, programs)
        .tar(time)
        .and_then(|tar| gzip(&tar, effort))
        .map_err(Failure::io("the tarball"))?;
    let library = target::library_needed(programs.iter().map(|(_, bytes)| bytes.as_slice()));
    let package = Package {
        version,
        architecture: machine.debian,
        // The unit reloads with /bin/kill, which is in procps.
        depends: library
            .map(|version| format!("libc6 (>= {version}), libgcc-s1, "))
            .unwrap_or_default()
            + "procps",
        files: contents.package(programs),
        scripts: contents.scripts().to_vec(),
    };
    let deb = package.deb(time, effort).map_err(Failure::io("the Debian package"))?;
    Ok(vec![
        (format!("{name}.tar.gz"), Some(*machine), tar),
        (format!("sensor-peers_{version}_{}.deb", machine.debian), Some(*machine), deb),
    ])
}

fn read_all(programs: &Programs) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
    let read = |name: &'static str| {
        let path = programs.path(name)?;
        Ok((name, fs::read(path).map_err(Failure::io(path.display().to_string()))?))
    };
    PROGRAMS.into_iter().filter(|name| programs.path(name).is_ok()).map(read).collect()
}

fn compare(first: &Products, second: &Products) -> Result<(), Failure> {
    let names =
        |products: &Products| products.iter().map(|(name, ..)| name.clone()).collect::<Vec<_>>();
    let different: Vec<&str> = first
        .iter()
        .zip(second)
        .filter(|((.., one), (.., other))| one != other)
        .map(|((name, ..), _)| name.as_str())
        .collect();
    if names(first) == names(second) && different.is_empty() {
        return Ok(());
    }
    Err(Failure::Stage {
        stage: "dist",
        how: format!("made twice, and not the same bytes: {}", different.join(", ")),
    })
}

/// Installs a product and forms a group with it; returns the result as one line.
fn try_product(root: &Path, path: &Path, machine: Option<&Machine>) -> Result<String, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let not_tried = |why: String| Ok(format!("not tried: {name}: {why}"));
    let runner = match machine.map(Machine::runner).transpose() {
        Ok(runner) => runner.flatten(),
        Err(why) => return not_tried(why),
    };
    let bench = Bench::new(root, &name)?;
    if name.ends_with(".tar.gz") {
        let folder = bench.unpack(path)?;
        try_pair(&bench.program(&folder.join("bin/peer"), runner.as_deref()))?;
        return Ok(format!("tried: {name}: unpacked, two peers of it form a group"));
    }
    if let Some(why) = trial::cannot_confine() {
        return not_tried(why);
    }
    if name.ends_with(".deb") {
        if target::find("dpkg").is_none() {
            return not_tried("dpkg is missing".to_owned());
        }
        let inside = bench.path("root");
        let program = inside.join("usr/bin/peer");
        trial::installed(&inside, path, || {
            let bytes = fs::read(&program).map_err(Failure::io("the installed peer"))?;
            let is_alone = target::library_needed(std::iter::once(bytes.as_slice())).is_none();
            // A program that needs a library finds none in an empty root.
            let way = if is_alone {
                bench.confined(&inside, "/usr/bin/peer", runner.as_deref(), true)?
            } else {
                bench.program(&program, runner.as_deref())
            };
            try_pair(&way)
        })?;
        return Ok(format!(
            "tried: {name}: installed into an empty root, two peers form a group there; purged"
        ));
    }
    if target::find("umoci").is_none() {
        return not_tried("umoci is missing (Debian package umoci)".to_owned());
    }
    let layout = trial::Layout::open(&bench, path)?;
    let mut outcome = Vec::new();
    for machine in &MACHINES {
        let (architecture, _) = machine.image;
        let Some(rootfs) = layout.unpack(&bench, architecture)? else { continue };
        match machine.runner() {
            Ok(runner) => {
                try_pair(&bench.confined(&rootfs, "/usr/bin/peer", runner.as_deref(), false)?)?;
                outcome.push(format!("{architecture}: two peers form a group"));
            }
            Err(why) => outcome.push(format!("{architecture}: not run, {why}")),
        }
    }
    Ok(format!(
        "tried: {name}: unpacked by umoci, in it as user {}: {}",
        image::USER,
        outcome.join("; ")
    ))
}

/// The checks of the products in the CI: they are the same bytes each time, and they work, with the
/// programs built for the tests. Checks that need a build of their own are skipped, and reported as
/// skipped.
pub(crate) fn check(workshop: &Workshop, programs: &Programs) -> Result<(), Failure> {
    let root = workshop.root();
    let peer = programs.path("peer")?;
    let (version, time) = (version(root)?, time(root)?);
    let machine = MACHINES.iter().find(|machine| machine.is_here());
    let Some(machine) = machine else {
        eprintln!(
            "not run: there are no products for this kind of machine ({})",
            std::env::consts::ARCH
        );
        return Ok(());
    };
    let pack = || {
        packed(
            &Contents::gather(root, Some(peer))?,
            (&version, time),
            machine,
            &read_all(programs)?,
            Effort::Quick,
        )
    };
    let products = pack()?;
    compare(&products, &pack()?)?;
    eprintln!("packed twice: the same bytes");
    let bench = Bench::new(root, "check")?;
    for (name, _, bytes) in &products {
        fs::write(bench.path(name), bytes).map_err(Failure::io(name.clone()))?;
    }
    let tarball = Bench::new(root, "tarball")?;
    let folder = tarball.unpack(&bench.path(&products[0].0))?;
    let way = tarball.program(&folder.join("bin/peer"), None);
    let mut group = Group::form(&[("first", &way), ("second", &way), ("third", &way)])?;
    group.lose_leader()?;
    group.leave()?;
    eprintln!(
        "{}: unpacked, three peers of it form a group, which survives its leader",
        products[0].0
    );
    check_configuration(&tarball, &folder)?;
    if target::find("dpkg").is_none() || target::find("systemd-sysusers").is_none() {
        eprintln!(
            "not run: the Debian package is not installed anywhere: dpkg or systemd-sysusers is \
             missing"
        );
    } else if let Some(why) = trial::cannot_confine() {
        eprintln!("not run: the Debian package is not installed anywhere: {why}");
    } else {
        let inside = bench.path("root");
        trial::installed(&inside, &bench.path(&products[1].0), || {
            try_pair(&bench.program(&inside.join("usr/bin/peer"), None))
        })?;
        eprintln!(
            "{}: installed into an empty root, two peers of it form a group, purged",
            products[1].0
        );
    }
    match trial::judge_unit(&bench, &root.join("contrib/peer.service"), peer) {
        Ok(words) => eprintln!("contrib/peer.service: verified; {words}"),
        Err(why) if target::find("systemd-analyze").is_none() => {
            eprintln!("not run: contrib/peer.service is not verified: {why}")
        }
        Err(why) => return Err(Failure::Stage { stage: "products", how: why }),
    }
    eprintln!(
        "not run: static programs, other machines, a mixed group, the image, and two builds with \
         the same bytes: cargo xtask dist --twice"
    );
    Ok(())
}

/// The configuration commands of the unpacked peer.
fn check_configuration(bench: &Bench, folder: &Path) -> Result<(), Failure> {
    let way = bench.program(&folder.join("bin/peer"), None);
    let path = |path: PathBuf| path.display().to_string();
    let (fresh, example, broken) = (
        path(bench.path("peer.toml")),
        path(folder.join("share/sensor-peers/peer.toml")),
        path(bench.path("broken.toml")),
    );
    fs::write(&broken, "heartbeat_intervall = 1\n").map_err(Failure::io(broken.clone()))?;
    for (arguments, code) in [
        (&["config", "init", &fresh][..], 0),
        (&["config", "init", &fresh], 69),
        (&["config", "check", &fresh, &example], 0),
        (&["config", "check", &broken], 65),
    ] {
        let status = way.run(arguments).map_err(Failure::io("the peer"))?;
        if status.code() != Some(code) {
            return Err(Failure::Stage {
                stage: "products",
                how: format!("peer {}: {status}, and not {code}", arguments.join(" ")),
            });
        }
    }
    eprintln!("peer config init and check do as they say");
    Ok(())
}

fn asks_ready(peer: &Path) -> bool {
    let help = Command::new(peer).args(["status", "--help"]).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--ready"))
}

/// The version of the workspace.
fn version(root: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(root.join("Cargo.toml")).map_err(Failure::io("Cargo.toml"))?;
    let version =
        text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version
        .map(str::to_owned)
        .ok_or_else(|| Failure::Usage("Cargo.toml has no version of the workspace".to_owned()))
}

/// The time stamp of all files: `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn time(root: &Path) -> Result<u64, Failure> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok().filter(|given| !given.is_empty());
    let text = given.or_else(|| {
        let output = Command::new("git")
            .args(["log", "-1", "--format=%ct"])
            .current_dir(root)
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    let words = "no time to date the files: this is no git checkout; set SOURCE_DATE_EPOCH to \
                 seconds since 1970";
    text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| Failure::Usage(words.to_owned()))
}

//! The container image: an OCI layout in a tar archive, built from scratch and without a daemon. It
//! holds the program and two folders of the user 65532: no shell, no library.
//!
//! The files of the format are few and small, so they are written here; `umoci` reads them when the
//! image is tested. One archive has all machines, for readers of an index; `manifest.json` beside
//! it is for a Docker that reads no index.

use std::io;

use serde_json::{Value, json};

use super::archive::{Archive, Effort, gzip, sha256};
use super::target::Machine;

/// The user that runs the program.
pub(crate) const USER: u32 = 65_532;

/// An image under construction.
#[derive(Debug)]
pub(crate) struct Image {
    version: String,
    time: u64,
    /// Whether `peer status --ready` exists.
    asks_ready: bool,
    layout: Archive,
    manifests: Vec<Value>,
    /// For the old format, which supports a single machine.
    oldest: Option<Value>,
}

impl Image {
    /// An image of this version, with this time for everything in it.
    pub(crate) fn new(version: &str, time: u64, asks_ready: bool) -> Self {
        Self {
            version: version.to_owned(),
            time,
            asks_ready,
            layout: Archive::default(),
            manifests: Vec::new(),
            oldest: None,
        }
    }

    /// Adds the program for a kind of machine.
    ///
    /// # Errors
    /// Those of `gzip` and `sha256sum`.
    pub(crate) fn add(&mut self, machine: &Machine, peer: Vec<u8>) -> io::Result<()> {
        let layer = layer(peer).tar(self.time)?;
        let uncompressed = format!("sha256:{}", sha256(&layer)?);
        let layer =
            self.blob(gzip(&layer, Effort::Best)?, "application/vnd.oci.image.layer.v1.tar+gzip")?;
        let (architecture, variant) = machine.image;
        let created = created(self.time);
        let mut config = json!({
            "architecture": architecture, "os": "linux", "created": created,
            "config": {
                "User": format!("{USER}:{USER}"), "Entrypoint": ["/usr/bin/peer"], "Cmd": ["run"], "WorkingDir": "/var/lib/sensor-peers",
                "Env": ["PATH=/usr/bin", "PEER_SOCKETS=/run/sensor-peers", "PEER_DATA_DIR=/var/lib/sensor-peers/data", "PEER_PORT=7000"],
                "ExposedPorts": {"7000/tcp": {}, "7000/udp": {}, "9999/udp": {}}, "Volumes": {"/var/lib/sensor-peers": {}},
                "StopSignal": "SIGTERM",
                "Labels": {
                    "org.opencontainers.image.title": "sensor-peers", "org.opencontainers.image.version": self.version,
                    "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
                },
            },
            "rootfs": {"type": "layers", "diff_ids": [uncompressed]},
            "history": [{"created": created, "created_by": "cargo xtask dist"}],
        });
        if self.asks_ready {
            // Docker uses it, Kubernetes has probes of its own, and the OCI format has no field for
            // it.
            let second = 1_000_000_000u64;
            config["config"]["Healthcheck"] = json!({
                "Test": ["CMD", "/usr/bin/peer", "status", "--ready"],
                "Interval": 10 * second, "Timeout": 5 * second, "StartPeriod": 30 * second, "Retries": 3,
            });
        }
        let mut platform = json!({"architecture": architecture, "os": "linux"});
        if let Some(variant) = variant {
            config["variant"] = json!(variant);
            platform["variant"] = json!(variant);
        }
        let config =
            self.blob(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json")?;
        if self.oldest.is_none() {
            let path =
                |descriptor: &Value| blob_path(descriptor["digest"].as_str().unwrap_or_default());
            let tag = format!("sensor-peers:{}", self.version);
            self.oldest = Some(
                json!([{"Config": path(&config), "RepoTags": [tag], "Layers": [path(&layer)]}]),
            );
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]});
        let mut descriptor = self.blob(manifest.to_string().into_bytes(), kind)?;
        descriptor["platform"] = platform;
        self.manifests.push(descriptor);
        Ok(())
    }

    /// The archive.
    ///
    /// # Errors
    /// Those of writing it, and of `sha256sum`.
    pub(crate) fn tar(mut self) -> io::Result<Vec<u8>> {
        let kind = "application/vnd.oci.image.index.v1+json";
        let tag = json!({"org.opencontainers.image.ref.name": self.version});
        // A single machine is listed in the index itself, since some readers do not follow an index
        // to another one.
        let mut top = match &self.manifests[..] {
            [only] => only.clone(),
            several => {
                let inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": several});
                self.blob(inner.to_string().into_bytes(), kind)?
            }
        };
        top["annotations"] = tag;
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [top]});
        self.layout.file("index.json", 0o644, index.to_string().into_bytes());
        self.layout.file(
            "oci-layout",
            0o644,
            json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes(),
        );
        if let Some(oldest) = &self.oldest {
            self.layout.file("manifest.json", 0o644, oldest.to_string().into_bytes());
        }
        self.layout.tar(self.time)
    }

    /// Adds a blob to the layout; returns its descriptor.
    fn blob(&mut self, bytes: Vec<u8>, kind: &str) -> io::Result<Value> {
        let digest = format!("sha256:{}", sha256(&bytes)?);
        let descriptor = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
        self.layout.file(&blob_path(&digest), 0o644, bytes);
        Ok(descriptor)
    }
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// The only layer.
fn layer(peer: Vec<u8>) -> Archive {
    let mut layer = Archive::default();
    layer.file("usr/bin/peer", 0o755, peer);
    layer.folder("run/sensor-peers", 0o755, USER);
    layer.folder("var/lib/sensor-peers", 0o700, USER);
    layer.folder("tmp", 0o1777, 0);
    layer.file(
        "etc/passwd",
        0o644,
        format!("root:x:0:0::/:/\npeer:x:{USER}:{USER}::/var/lib/sensor-peers:/\n").into_bytes(),
    );
    layer.file("etc/group", 0o644, format!("root:x:0:\npeer:x:{USER}:\n").into_bytes());
    layer
}

/// A time in the format's syntax, from seconds since 1970.
fn created(time: u64) -> String {
    let (days, second) = (time / 86_400, time % 86_400);
    // Days are counted from the 1st of March of the year 0, so that a leap day ends its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) =
        (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::super::target::MACHINES;
    use super::{Image, created};

    #[test]
    fn moments_are_written_as_the_format_wants_them() {
        for (time, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_421_702, "2026-11-23T08:15:02Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(created(time), text);
        }
    }

    #[test]
    fn an_image_is_the_same_bytes_each_time() {
        let make = |programs: usize| {
            let mut image = Image::new("0.0.0", 86_400, true);
            MACHINES
                .iter()
                .take(programs)
                .for_each(|machine| image.add(machine, machine.name.into()).unwrap());
            image.tar().unwrap()
        };
        assert_eq!(make(1), make(1));
        assert_eq!(make(3), make(3));
        let text = String::from_utf8_lossy(&make(3)).into_owned();
        for word in
            ["\"variant\":\"v7\"", "\"User\":\"65532:65532\"", "\"--ready\"", "sensor-peers:0.0.0"]
        {
            assert!(text.contains(word), "{word}");
        }
    }
}

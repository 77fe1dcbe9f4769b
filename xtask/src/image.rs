//! Writes a container image of one static program, FROM scratch: no registry, no daemon, no other layer.
//!
//! The archive is an OCI layout that also has the `manifest.json` of `docker save`, so that `ctr images import`,
//! `docker load`, `podman load` and `buildah pull oci-archive:` read it. The same program gives the same bytes: times
//! are 0 and owners are root.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Which program, and where the image goes.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// The static program; it becomes the image's entry point
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Name and tag
    #[arg(long, value_name = "NAME:TAG", value_parser = name_and_tag)]
    name: (String, String),
    /// What the image is told to do unless the pod says otherwise
    #[arg(long, value_name = "WORD")]
    command: Vec<String>,
    /// The archive
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

fn name_and_tag(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once(':') {
        Some((name, tag)) if !name.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            Ok((name.to_owned(), tag.to_owned()))
        }
        _ => Err("write a name, a colon and a tag: cellwall:0.1.0".to_owned()),
    }
}

/// Writes the archive, aside and then renamed.
pub(crate) fn run(args: &ImageArgs) -> Result<ExitCode> {
    let program = fs::read(&args.program).with_context(|| format!("cannot read {}", args.program.display()))?;
    if asks_for_an_interpreter(&program) {
        bail!(
            "{} is not a static program, and nothing else is in the image; build it with `make static`",
            args.program.display()
        );
    }
    let file = args.program.file_name().and_then(|name| name.to_str());
    let file = file.with_context(|| format!("{} has no file name", args.program.display()))?;
    let bytes = archive(file, &program, &args.name, &args.command)?;
    let aside = args.output.with_extension("part");
    fs::write(&aside, &bytes).with_context(|| format!("cannot write {}", aside.display()))?;
    fs::rename(&aside, &args.output).with_context(|| format!("cannot write {}", args.output.display()))?;
    let (name, tag) = &args.name;
    println!("{}: {name}:{tag}, {} KiB", args.output.display(), bytes.len() / 1024);
    Ok(ExitCode::SUCCESS)
}

/// Whether a 64-bit little-endian ELF file has a program header of type INTERP.
fn asks_for_an_interpreter(elf: &[u8]) -> bool {
    const INTERP: u32 = 3;
    let number = |at: usize, size: usize| {
        let bytes = elf.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0_usize, |n, byte| n << 8 | usize::from(*byte)))
    };
    let headers = || Some((number(32, 8)?, number(54, 2)?, number(56, 2)?));
    let Some((start, size, count)) = headers().filter(|_| elf.starts_with(b"\x7fELF\x02\x01")) else {
        // Not a program that this machine runs at all.
        return true;
    };
    (0..count).any(|index| number(start + index * size, 4) == Some(INTERP as usize))
}

fn archive(file: &str, program: &[u8], (name, tag): &(String, String), command: &[String]) -> Result<Vec<u8>> {
    let layer = tar_of(&[(file.to_owned(), 0o755, program)])?;
    let layer_digest = digest(&layer);
    let config = serde_json::to_vec(&json!({
        "architecture": "amd64",
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": "0:0",
            "WorkingDir": "/",
            "Entrypoint": [format!("/{file}")],
            "Cmd": command,
            "Labels": {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.version": tag,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image" }],
    }))?;
    let blob = |kind: &str, bytes: &[u8]| -> Value {
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{}", digest(bytes)),
            "size": bytes.len(),
        })
    };
    let manifest = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", &config),
        "layers": [blob("layer.v1.tar", &layer)],
    }))?;
    let mut entry = blob("manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": "amd64", "os": "linux" });
    // What a name without a registry stands for, everywhere: containerd wants it written out.
    let full = if name.contains('/') {
        format!("{name}:{tag}")
    } else {
        format!("docker.io/library/{name}:{tag}")
    };
    entry["annotations"] = json!({ "io.containerd.image.name": full, "org.opencontainers.image.ref.name": tag });
    let index = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    }))?;
    let place = |bytes: &[u8]| format!("blobs/sha256/{}", digest(bytes));
    let docker = serde_json::to_vec(&json!([{
        "Config": place(&config),
        "RepoTags": [format!("{name}:{tag}")],
        "Layers": [place(&layer)],
    }]))?;
    tar_of(&[
        (
            "oci-layout".to_owned(),
            0o644,
            br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice(),
        ),
        ("index.json".to_owned(), 0o644, &index),
        ("manifest.json".to_owned(), 0o644, &docker),
        (place(&manifest), 0o644, &manifest),
        (place(&config), 0o644, &config),
        (place(&layer), 0o644, &layer),
    ])
}

fn tar_of(files: &[(String, u32, &[u8])]) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, path, *bytes)
            .with_context(|| format!("cannot put {path} into the archive"))?;
    }
    Ok(archive.into_inner()?)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        // Writing into a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest file that counts as a 64-bit ELF program with these types of program headers.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = u8::try_from(types.len()).expect("few headers");
        for kind in types {
            let mut header = vec![0; 56];
            header[..4].copy_from_slice(&kind.to_le_bytes());
            bytes.extend(header);
        }
        bytes
    }

    fn read(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("an archive");
        entries
            .map(|entry| {
                let mut entry = entry.expect("an entry");
                let path = entry.path().expect("a path").to_string_lossy().into_owned();
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut entry, &mut bytes).expect("content");
                (path, bytes)
            })
            .collect()
    }

    #[test]
    fn a_program_that_wants_an_interpreter_is_told_from_a_static_one() {
        assert!(!asks_for_an_interpreter(&elf(&[1, 2, 7])));
        assert!(asks_for_an_interpreter(&elf(&[6, 3, 1])));
        assert!(asks_for_an_interpreter(b"#!/bin/sh\n"));
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_the_same_program_gives_the_same_bytes() {
        let name = ("cellwall".to_owned(), "1.2.3".to_owned());
        let bytes = archive("cellwall", b"program", &name, &[]).expect("an archive");
        assert_eq!(bytes, archive("cellwall", b"program", &name, &[]).expect("an archive"));
        let files = read(&bytes);
        let blobs = files.iter().filter(|(path, _)| path.starts_with("blobs/"));
        for (path, content) in blobs.clone() {
            assert_eq!(*path, format!("blobs/sha256/{}", digest(content)));
        }
        assert_eq!(blobs.count(), 3, "manifest, config, layer");
    }

    #[test]
    fn containerd_and_docker_find_the_same_name_and_the_same_layer() {
        let name = ("cellwall".to_owned(), "1.2.3".to_owned());
        let files = read(&archive("cellwall", b"program", &name, &["run".to_owned()]).expect("an archive"));
        let json = |path: &str| -> Value {
            let (_, bytes) = files.iter().find(|(name, _)| name == path).expect("the file is there");
            serde_json::from_slice(bytes).expect("JSON")
        };
        let docker = json("manifest.json");
        assert_eq!(docker[0]["RepoTags"], json!(["cellwall:1.2.3"]));
        let index = json("index.json");
        let annotations = &index["manifests"][0]["annotations"];
        assert_eq!(
            annotations["io.containerd.image.name"],
            "docker.io/library/cellwall:1.2.3"
        );
        let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
        let manifest = json(&digest.replace("sha256:", "blobs/sha256/"));
        let layer = manifest["layers"][0]["digest"].as_str().expect("a digest");
        assert_eq!(docker[0]["Layers"][0], layer.replace("sha256:", "blobs/sha256/"));
        let config = json(docker[0]["Config"].as_str().expect("a path"));
        assert_eq!(config["config"]["Entrypoint"], json!(["/cellwall"]));
        assert_eq!(config["rootfs"]["diff_ids"][0], layer);
    }
}

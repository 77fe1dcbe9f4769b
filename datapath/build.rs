//! Builds the eBPF object with the pinned nightly and leaves it at `$OUT_DIR/cellwall-ebpf`, where the crate embeds it.
//!
//! A nested cargo, with an environment of its own: nothing of the outer build (toolchain, flags, target, clippy's
//! wrapper) may leak into the kernel's code, or the same source would give different objects.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

const REMEDY: &str = "run scripts/setup.sh, which installs it";

/// Names an object to embed instead of building one.
const GIVEN: &str = "CELLWALL_EBPF_OBJECT";

/// Set by the outer cargo or by whoever called it, and meant for the outer build alone.
const OUTER: [&str; 15] = [
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_BOOTSTRAP",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// The object's own profile, whatever the workspace says for user space: the verifier judges this code, so it is
/// always optimised in full, and debug info is what BTF is made from.
const PROFILE: [(&str, &str); 7] = [
    ("OPT_LEVEL", "3"),
    ("LTO", "false"),
    ("CODEGEN_UNITS", "1"),
    ("DEBUG", "2"),
    ("STRIP", "none"),
    ("DEBUG_ASSERTIONS", "false"),
    ("OVERFLOW_CHECKS", "false"),
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={GIVEN}");
    if let Some(object) = env::var_os(GIVEN) {
        // A finished object, for instance while the packet path does not build: no nightly and no linker needed.
        let object = PathBuf::from(object);
        println!("cargo::rerun-if-changed={}", object.display());
        let out = PathBuf::from(var("OUT_DIR")?).join("cellwall-ebpf");
        return fs::copy(&object, out)
            .map(drop)
            .map_err(|error| format!("{GIVEN}={}: {error}", object.display()));
    }
    let root = PathBuf::from(var("CARGO_MANIFEST_DIR")?).join("..");
    for input in ["datapath-ebpf", "datapath-common", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    let pins = pins(&root.join("datapath-ebpf/toolchain"))?;
    let nightly = pin(&pins, "NIGHTLY")?;
    check_nightly(nightly)?;
    let path = check_linker(pin(&pins, "BPF_LINKER")?)?;

    let out = PathBuf::from(var("OUT_DIR")?);
    let target = match var("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let target_dir = out.join("ebpf");
    let arch = var("CARGO_CFG_TARGET_ARCH")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
    ];

    let mut cargo = Command::new("rustup");
    cargo.args([
        "run",
        nightly,
        "cargo",
        "build",
        "--release",
        "-Z",
        "build-std=core",
        "--target",
        target,
    ]);
    cargo.args([
        "--package",
        "cellwall-datapath-ebpf",
        "--bin",
        "cellwall-ebpf",
        "--features",
        "kernel",
    ]);
    cargo
        .args(["--color", "never"])
        .arg("--target-dir")
        .arg(&target_dir)
        .current_dir(&root);
    for key in OUTER {
        cargo.env_remove(key);
    }
    for (key, value) in PROFILE {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("PATH", path);

    let output = cargo
        .output()
        .map_err(|error| format!("rustup cannot be started ({error}): {REMEDY}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("the eBPF object does not build:\n{said}").replace('\n', "\ncargo::error="));
    }
    if said.contains("warning: ") {
        for line in said.lines() {
            println!("cargo::warning={line}");
        }
    }
    let object = target_dir.join(target).join("release/cellwall-ebpf");
    fs::copy(&object, out.join("cellwall-ebpf"))
        .map_err(|error| format!("copying {} to {}: {error}", object.display(), out.display()))?;
    Ok(())
}

fn var(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; this script is to be run by cargo"))
}

/// `KEY=value` lines; `#` begins a comment line.
fn pins(file: &Path) -> Result<HashMap<String, String>, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("reading {}: {error}", file.display()))?;
    let pairs = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect())
}

fn pin<'a>(pins: &'a HashMap<String, String>, key: &str) -> Result<&'a str, String> {
    pins.get(key)
        .map(String::as_str)
        .ok_or_else(|| format!("datapath-ebpf/toolchain has no {key}"))
}

/// The toolchain and the source of `core`. Asked for beforehand: cargo's own message would not name the remedy.
fn check_nightly(nightly: &str) -> Result<(), String> {
    let output = Command::new("rustup")
        .args(["run", nightly, "rustc", "--print", "sysroot"])
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .map_err(|error| format!("rustup cannot be started ({error}): the eBPF object needs {nightly}; {REMEDY}"))?;
    if !output.status.success() {
        return Err(format!("toolchain {nightly} for the eBPF object is missing: {REMEDY}"));
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists() {
        return Ok(());
    }
    Err(format!("component rust-src of {nightly} is missing: {REMEDY}"))
}

/// The linker at its pinned version, found on PATH or in cargo's bin directory; answers the PATH that finds it.
fn check_linker(version: &str) -> Result<String, String> {
    let home = env::var("CARGO_HOME").or_else(|_| env::var("HOME").map(|home| format!("{home}/.cargo")));
    let path = match (home, env::var("PATH")) {
        (Ok(home), Ok(path)) => format!("{path}:{home}/bin"),
        (Ok(home), Err(_)) => format!("{home}/bin"),
        (Err(_), path) => path.unwrap_or_default(),
    };
    let output = Command::new("bpf-linker")
        .arg("--version")
        .env("PATH", &path)
        .output()
        .map_err(|error| format!("bpf-linker {version} cannot be started ({error}): {REMEDY}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if said.trim() == format!("bpf-linker {version}") {
        return Ok(path);
    }
    let found = if output.status.success() {
        said
    } else {
        String::from_utf8_lossy(&output.stderr)
    };
    Err(format!(
        "bpf-linker {version} is needed and this answered: {}: {REMEDY}",
        found.trim()
    ))
}

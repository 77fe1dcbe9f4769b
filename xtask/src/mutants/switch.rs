//! The switches of changed code: which one is on, and which were asked.
use std::io::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static ON: LazyLock<u32> = LazyLock::new(|| {
    let number = std::env::var("MUTANT").ok().and_then(|number| number.parse().ok());
    number.unwrap_or(u32::MAX)
});
static ASKED: [AtomicBool; NUMBER_OF_CHANGES] = [const { AtomicBool::new(false) }; NUMBER_OF_CHANGES];
static TOLD: LazyLock<Option<std::sync::Mutex<std::fs::File>>> = LazyLock::new(|| {
    let path = std::env::var_os("MUTANTS_ASKED")?;
    std::fs::File::create(path).ok().map(std::sync::Mutex::new)
});

pub fn on(number: u32) -> bool {
    if !ASKED[number as usize].load(Relaxed) {
        ASKED[number as usize].store(true, Relaxed);
        if let Some(file) = &*TOLD {
            let _written = file.lock().map(|mut file| file.write_all(std::format!("{number}\n").as_bytes()));
        }
    }
    *ON == number
}

//! A folder with one SQLite file, over the ends of the program that uses it. Each run of the program
//! gets a copy, so that the one before, whose connections close in their own time, cannot touch it.

use std::fs;
use std::path::{Path, PathBuf};

use shared::db::lite::disk::{Disk, Faulty, Halt};

/// How a program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// `kill -9`: what was written is there.
    Kill,
    /// The machine loses power: what was not synced is gone.
    PowerCut,
}

/// A machine's folder.
pub struct Machine {
    root: PathBuf,
    file: &'static str,
    run: u32,
    halt: Halt,
    /// What its file lies on, in this run.
    pub disk: Faulty,
}

impl Machine {
    /// A machine that keeps its things below `root`, the database in `file`.
    pub fn new(root: PathBuf, file: &'static str, halt: Halt) -> Self {
        let disk = Faulty::new(halt.clone(), 0);
        let machine = Self { root, file, run: 0, halt, disk };
        fs::create_dir_all(machine.folder()).unwrap();
        machine
    }

    /// Its folder in this run.
    pub fn folder(&self) -> PathBuf {
        self.root.join(self.run.to_string())
    }

    /// Its database.
    pub fn database(&self) -> PathBuf {
        self.folder().join(self.file)
    }

    /// The disk as the program gets it.
    pub fn seam(&self) -> Disk {
        Disk::Faulty(self.disk.clone())
    }

    /// The program has ended: what is left is there for the next run.
    pub fn restart(&mut self, stop: Stop) {
        let (before, left, was_full) = (self.folder(), self.disk.durable_bytes(), self.disk.is_full());
        self.run += 1;
        fs::create_dir_all(self.folder()).unwrap();
        for entry in fs::read_dir(&before).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with("-shm") && !name.ends_with(".lock") {
                fs::copy(&path, self.folder().join(name)).unwrap();
            }
        }
        if stop == Stop::PowerCut {
            cut(&self.folder().join(format!("{}-wal", self.file)), left);
        }
        self.disk = Faulty::new(self.halt.clone(), left);
        self.disk.set_full(was_full);
    }
}

/// Leaves the first bytes of a file.
fn cut(path: &Path, bytes: u64) {
    if let Ok(file) = fs::File::options().write(true).open(path) {
        file.set_len(bytes.min(file.metadata().unwrap().len())).unwrap();
    }
}

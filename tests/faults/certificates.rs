//! Certificates for servers of the suite's own, made with the `openssl` command line.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate for 127.0.0.1 with its key, and the CA that it comes from, as files in PEM.
pub struct Certificates {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them in a new folder.
    pub fn make(folder: &Path) -> Self {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        let openssl = |command: &str| {
            let done = Command::new("openssl").args(command.split(' ')).current_dir(folder).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-CA -keyout ca.key -out ca.pem");
        openssl("req -newkey rsa:2048 -nodes -subj /CN=127.0.0.1 -keyout server.key -out server.csr");
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
        );
        Self { ca: folder.join("ca.pem"), certificate: folder.join("server.pem"), key: folder.join("server.key") }
    }
}

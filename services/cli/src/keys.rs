//! `muster keys`: whose signature counts for which server.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;
use shared::contract::key::{Algorithm, ClientKey, NewKey};
use shared::error::{Error, Result};
use shared::name::Hostname;
use shared::rules::limits::PEM_BYTES_MAX;
use shared::sign::PublicKey;

use crate::document::Document;
use crate::exit::Exit;
use crate::parse::Host;
use crate::plane::Session;
use crate::{age, table};

/// Lists the servers' public keys; shows, sets and revokes one
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  muster keys\n  muster keys put web-1 web-1.pem")]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Prints a server's public key as PEM
    #[command(after_help = "Example:\n  muster keys show web-1")]
    Show(Host),
    /// Sets a server's public key; results signed with the one before still count for 8 days
    #[command(after_help = "Examples:\n  muster keys put web-1 web-1.pem\n  muster keys put web-1 - --rs256")]
    Put(Put),
    /// Revokes a server's key: what is signed with it counts no more
    #[command(after_help = "Example:\n  muster keys revoke web-1")]
    Revoke(Host),
}

#[derive(clap::Args)]
struct Put {
    #[command(flatten)]
    host: Host,
    /// File with the RSA public key as PEM; `-` is standard input
    file: PathBuf,
    /// The agent signs with RS256 (PKCS #1 v1.5) instead of PS256
    #[arg(long)]
    rs256: bool,
}

/// Does what is asked.
pub async fn run(args: Args, session: Session) -> Result<Exit> {
    match args.verb {
        None => list(session).await,
        Some(Verb::Show(host)) => show(host, session).await,
        Some(Verb::Put(args)) => put(args, session).await,
        Some(Verb::Revoke(host)) => revoke(host, session).await,
    }
}

async fn list(mut session: Session) -> Result<Exit> {
    let keys: Vec<Document<ClientKey>> = session.client.get("/api/client-keys").await?;
    let now = session.now;
    let row = |key: &Document<ClientKey>| {
        [key.hostname.clone(), key.algorithm.as_str().to_owned(), key.keyid.clone(), age::ago(key.updated_at, now)]
    };
    let header = ["HOSTNAME", "ALGORITHM", "KEY ID", "UPDATED"];
    session.show(&keys, |out, keys| table::show(out, header, keys.iter().map(row)))
}

fn path(hostname: &Hostname) -> String {
    format!("/api/client-keys/{hostname}")
}

async fn show(host: Host, mut session: Session) -> Result<Exit> {
    let key: Document<ClientKey> = session.client.get(&path(&host.hostname)).await?;
    session.show(&key, |out, key| out.text(&key.public_key_pem))
}

async fn put(args: Put, mut session: Session) -> Result<Exit> {
    let public_key_pem = read(&args.file)?;
    // Checked here, not only there: a private key that was taken for the public one must not travel.
    PublicKey::from_pem(&public_key_pem)?;
    let body = NewKey { public_key_pem, algorithm: args.rs256.then_some(Algorithm::RS256) };
    let key: Document<ClientKey> = session.client.send(Method::PUT, &path(&args.host.hostname), &body).await?;
    session.show(&key, |out, key| out.line(&format!("{} has the key {}", key.hostname, key.keyid)))
}

/// Reads one byte more than a key may have, which is enough to see that it has too many.
fn read(file: &PathBuf) -> Result<String> {
    let name = file.display();
    let unreadable = |error: std::io::Error| Error::bad_input(format!("`{name}` cannot be read: {error}"));
    let mut text = String::new();
    let most = PEM_BYTES_MAX as u64 + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().take(most).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        std::fs::File::open(file).map_err(unreadable)?.take(most).read_to_string(&mut text).map_err(unreadable)?;
    }
    Ok(text)
}

async fn revoke(host: Host, mut session: Session) -> Result<Exit> {
    session.client.act(Method::DELETE, &path(&host.hostname)).await?;
    session.done(&format!("the key of {} is revoked", host.hostname))
}

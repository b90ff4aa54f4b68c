//! `muster-agent enroll`: makes this server known to a control plane, and the plane to it.
//!
//! Every step may be done again, so the command may be: after a failure, after a change of the
//! plane's keys, or at every start of a container. Whom to believe is settled before anything is
//! uploaded. At the first time nothing but TLS says that it is the right plane that answers; hence
//! the ids of all keys are shown, for people to compare.

use std::io::Write as _;
use std::path::PathBuf;

use axum::http::Method;
use serde::de::IgnoredAny;
use shared::clock::Clock;
use shared::config::{Source, key, token};
use shared::contract::key::{NewKey, PlaneKey};
use shared::contract::server::NewServer;
use shared::error::{Kind, Result};
use shared::http::client::Client;
use shared::lock::Lock;
use shared::name::Hostname;
use shared::sign::SigningKey;

use crate::config::{Settings, folder};
use crate::enrolment;
use crate::journal::Journal;

/// Makes this server's key, registers it with the control plane, and pins the plane's keys
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  muster-agent enroll --url https://muster.example.org --token-file /root/token
  muster-agent enroll --url https://muster.example.org --ca-file ca.pem --hostname web-1 --group web
  muster-agent enroll --url https://muster.example.org --trust-new-keys

It may be run again at any time. Compare the key ids that it prints with what the control plane
shows, at the first time above all. With --trust-new-keys, restart the agent afterwards.")]
pub struct Args {
    /// Address of the control plane; or set MUSTER_URL
    #[arg(long)]
    url: Option<String>,
    /// API token; rather use --token-file or MUSTER_TOKEN, because others can read a command line
    #[arg(long)]
    token: Option<String>,
    /// File that holds the token; or set MUSTER_TOKEN_FILE
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// CA (PEM) that the control plane's certificate must come from; or set MUSTER_CA_FILE
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The server's name; or set MUSTER_HOSTNAME [default: as enrolled before, else the machine's own]
    #[arg(long, value_parser = hostname)]
    hostname: Option<Hostname>,
    /// Its group
    #[arg(long)]
    group: Option<String>,
    /// Its address, for people to read
    #[arg(long)]
    ip: Option<String>,
    /// The agent's folder; or set MUSTER_AGENT_DIR [default: /var/lib/muster-agent]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Believe the keys that the control plane has now, and no others, whatever is pinned
    #[arg(long)]
    trust_new_keys: bool,
}

fn hostname(text: &str) -> Result<Hostname> {
    Hostname::parse("HOSTNAME", text)
}

/// Enrols this server.
pub async fn run(args: Args) -> Result<()> {
    let source = Source::load()?;
    let client = args.client(&source)?;
    let folder = args.dir.clone().unwrap_or_else(|| folder(&source));
    let told = args.hostname.as_ref().map(Hostname::as_str).or_else(|| source.get(key::HOSTNAME));
    let hostname = enrolment::hostname(&folder, told)?;
    let pinned = enrolment::pinned(&folder)?;
    let settings = Settings::new(hostname.as_str(), folder, Vec::new())?;
    let _lock = Lock::take(&settings.folder, "enroll.lock")?;
    let own = own_key(&settings).await?;
    let answered: Vec<PlaneKey> = client.get("/api/signing-keys").await?;
    let believed = enrolment::judge(pinned, answered, args.trust_new_keys)?;
    introduce(&client, &hostname, &own).await?;
    let is_new = register(&client, &args, &hostname).await?;
    enrolment::write(&settings.folder, &hostname, &believed)?;
    tell(&hostname, is_new, &own, &believed);
    Ok(())
}

impl Args {
    fn client(&self, source: &Source) -> Result<Client> {
        let url = self.url.as_deref().map_or_else(|| source.need(key::URL), Ok)?;
        let given = token(self.token.clone(), self.token_file.as_deref())?;
        let token = given.map_or_else(|| source.secret(key::TOKEN), |token| Ok(Some(token)))?;
        let ca_file = self.ca_file.clone().or_else(|| source.get(key::CA_FILE).map(PathBuf::from));
        let client = Client::with_ca(url, token.filter(|token| !token.is_empty()), ca_file.as_deref())?;
        if client.is_exposed() {
            let warning = "the token and the keys travel unprotected; use https, or compare the key ids with care";
            _ = writeln!(std::io::stderr(), "muster-agent: warning: {warning}"); // as good as it can be told
        }
        Ok(client)
    }
}

/// The server's key. A new one gets its journal at once: one that is made later, beside an older key,
/// looks like a lost one, and refuses what was signed before.
async fn own_key(settings: &Settings) -> Result<SigningKey> {
    if settings.key_is_new {
        let journal = Journal::new(settings.journal_path(), settings.disk.clone(), true);
        journal.open(Clock::System.now()).await?;
        journal.close().await;
    }
    settings.key()
}

/// Uploads the server's public key.
async fn introduce(client: &Client, hostname: &Hostname, own: &SigningKey) -> Result<()> {
    let body = NewKey { public_key_pem: own.public().to_pem()?, algorithm: Some(own.algorithm()) };
    let _: IgnoredAny = client.send(Method::PUT, &format!("/api/client-keys/{hostname}"), &body).await?;
    Ok(())
}

/// Registers the server; `false` when it was registered already.
async fn register(client: &Client, args: &Args, hostname: &Hostname) -> Result<bool> {
    let body = NewServer { hostname: hostname.to_string(), ip: args.ip.clone(), group: args.group.clone() };
    match client.send::<IgnoredAny>(Method::POST, "/api/servers", &body).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Kind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}

/// Says what was done. It is done whether or not anybody reads it.
fn tell(hostname: &Hostname, is_new: bool, own: &SigningKey, believed: &[PlaneKey]) {
    let registered =
        if is_new { "is registered" } else { "was registered already; its group and address stay as they are" };
    let mut text = format!("server      {hostname} {registered}\nserver key  {}\n", own.keyid());
    for key in believed {
        text.push_str(&format!("plane key   {} (pinned)\n", key.keyid));
    }
    _ = std::io::stdout().write_all(text.as_bytes());
}

//! Which control plane, and how to answer: the options that every command has.

use serde::Serialize;
use shared::clock::{Clock, Time};
use shared::error::Result;
use shared::http::client::Client;

use crate::exit::Exit;
use crate::terminal::Out;

/// The options.
#[derive(clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Plane {
    /// Address of the control plane
    #[arg(long, global = true, env = "MUSTER_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API token; rather set MUSTER_TOKEN, because others can read a command line
    #[arg(long, global = true, env = "MUSTER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print what the API answers as one JSON document, for programs
    #[arg(long, global = true)]
    json: bool,
}

/// A control plane to ask and an output to answer on.
pub struct Session {
    /// The control plane.
    pub client: Client,
    /// Whether a program reads the answer.
    pub json: bool,
    /// Where the answer goes.
    pub out: Out,
    /// What ages are counted from: one moment for a whole answer.
    pub now: Time,
}

impl Plane {
    /// Makes a session. Nothing is sent yet.
    pub fn open(self) -> Result<Session> {
        let token = self.token.filter(|token| !token.is_empty()); // an empty variable is no token
        let client = Client::new(&self.url, token)?;
        Ok(Session { json: self.json, ..Session::people(client) })
    }
}

impl Session {
    /// A session that answers in words.
    pub fn people(client: Client) -> Self {
        Self { client, json: false, out: Out::stdout(), now: Clock::System.now() }
    }

    /// Prints an answer: the document itself for programs, what `people` writes for people.
    pub fn show<T: Serialize>(&mut self, answer: &T, people: impl FnOnce(&mut Out, &T) -> Result<()>) -> Result<Exit> {
        if self.json { self.out.json(answer) } else { people(&mut self.out, answer) }?;
        Ok(Exit::Success)
    }

    /// Tells people that something was done to which the API has no answer.
    pub fn done(&mut self, what: &str) -> Result<Exit> {
        if !self.json {
            self.out.line(what)?;
        }
        Ok(Exit::Success)
    }
}

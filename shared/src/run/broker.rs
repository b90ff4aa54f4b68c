//! The broker of the settings.

use crate::bus::Bus;
use crate::bus::rabbit::{Role, Settings};
use crate::config::Source;
use crate::config::key::{BROKER_CA_FILE, BROKER_URL};
use crate::error::Result;

/// The broker, for `name` in its `role`. It is connected to in the background, and may be away now.
pub fn broker(settings: &Source, role: Role, name: &str) -> Result<Bus> {
    Bus::rabbit(&Settings {
        url: settings.need_secret(BROKER_URL)?,
        ca_file: settings.get(BROKER_CA_FILE).map(Into::into),
        role,
        name: name.to_owned(),
    })
}

//! Every limit that the contract makes, by name and unit. Limits of one room's own stand there.

use std::time::Duration;

/// A hostname, in bytes (RFC 1123).
pub const HOSTNAME_BYTES_MAX: usize = 253;
/// A group's name, in characters.
pub const GROUP_CHARS_MAX: usize = 64;
/// An account's name, in characters.
pub const USER_CHARS_MAX: usize = 64;
/// A command's text, in bytes.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;
/// A public key as PEM, in bytes.
pub const PEM_BYTES_MAX: usize = 8 * 1024;
/// An `Idempotency-Key`, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;
/// How long a command may run unless the caller says otherwise, in seconds.
pub const TIMEOUT_SECS_DEFAULT: i64 = 30;
/// The longest a command may be allowed to run, in seconds.
pub const TIMEOUT_SECS_MAX: i64 = 86_400;
/// How long a command may wait for its server unless the caller says otherwise, in seconds.
pub const EXPIRES_IN_SECS_DEFAULT: i64 = 3_600;
/// The longest a command may wait for its server, in seconds.
pub const EXPIRES_IN_SECS_MAX: i64 = 86_400;
/// The longest a roll-out may go on starting servers, in seconds: 30 days.
pub const ROLLOUT_EXPIRES_IN_SECS_MAX: i64 = 30 * 86_400;
/// Rows in one page of a list when the caller pages without saying how many.
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// The most rows a page may have.
pub const PAGE_ROWS_MAX: usize = 1_000;
/// Rows read from the database at a time while a whole list is streamed.
pub const STREAM_ROWS: usize = 500;
/// Results read at a time, and on one page; each may have as many bytes as an envelope.
pub const RESULT_ROWS: usize = 32;
/// Rows written by one statement.
pub const INSERT_ROWS: usize = 500;
/// A request's body, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Dead letters that are kept; older ones make room.
pub const DEAD_LETTERS_MAX: usize = 10_000;
/// What is kept of all dead letters together, in bytes; older ones make room.
pub const DEAD_LETTERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What is kept of a dead letter that is larger than any envelope, in bytes.
pub const DEAD_LETTER_STUB_BYTES: usize = 4 * 1024;
/// What is shown of a dead letter, in bytes.
pub const DEAD_LETTER_SHOWN_BYTES: usize = 64 * 1024;
/// A signed envelope, in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
/// How far another machine's clock may run ahead of ours.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60);
/// The longest span between a command's making and its expiry.
pub const VALIDITY_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How long a replaced key's results still count, so that a spool survives a rotation.
pub const KEY_RETIRES_AFTER: Duration = Duration::from_secs(8 * 24 * 3_600);
/// How often an agent sends a heartbeat.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// A server is online while its last heartbeat is younger than this: three intervals.
pub const ONLINE_WITHIN: Duration = Duration::from_secs(30);
/// The most heartbeats that wait for the ingestor; older ones make room.
pub const HEARTBEATS_WAITING_MAX: usize = 100_000;
/// How long a heartbeat is worth reading.
pub const HEARTBEAT_TTL: Duration = Duration::from_secs(90);
/// Turns of an agent's runs (an earlier one speaks again) by which two agents with one identity are told
/// from a late message. Two living ones make one every few seconds.
pub const CLONE_TURNS_MIN: i64 = 6;
/// Turns further apart than this do not count together, and a server is no longer called cloned so long
/// after the last one.
pub const CLONE_TURNS_WITHIN: Duration = Duration::from_secs(15 * 60);
/// How long a server is said to have an older journal than it had.
pub const FORK_SHOWN_FOR: Duration = Duration::from_secs(24 * 3_600);

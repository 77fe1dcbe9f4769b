//! The agent's socket: one JSON request a connection, answered by JSON lines. Reachable by root on this machine only
//! (a file of mode 0600); nothing of it is served on a port.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::alerts::{Alerts, Query};
use crate::records::recent::{Only, Recent};

/// Longest request, in bytes: a batch of questions of `explain -`.
const LONGEST: u64 = 16 << 20;

/// What can be asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Questions as on the command line: FROM TO \[PORT\[/PROTOCOL\]\].
    Explain {
        /// One a line.
        questions: Vec<String>,
    },
    /// Every rule.
    Rules,
    /// Every object.
    Objects,
    /// The intercept status.
    Status,
    /// Records kept, and with `follow` those to come.
    Flows {
        /// Go on.
        follow: bool,
        /// Which of them; none said: all.
        #[serde(default)]
        only: Only,
    },
    /// Alerts, after a line with their counts.
    Alerts {
        /// Last seen within so many seconds; none: all that are kept.
        since: Option<u64>,
        /// From or to namespace/pod.
        pod: Option<String>,
        /// By this rule.
        rule: Option<String>,
        /// With this verdict.
        verdict: Option<String>,
    },
    /// Refused flows of a pod.
    Refused {
        /// namespace/pod.
        pod: String,
    },
    /// Confirm the generation that decides, where the node waits for that.
    Confirm {
        /// The generation that is meant; none: whichever decides.
        #[serde(default)]
        generation: Option<u32>,
        /// Who asks: put in by the agent, by what the kernel says of the other end, whatever a client wrote.
        #[serde(default)]
        by: Option<String>,
    },
    /// A pod's network was made: has the kernel its policy? (The CNI plugin asks.)
    Attach(Attachment),
    /// End, leaving enforcement as it is.
    Stop,
}

impl Request {
    /// All records kept.
    pub const FLOWS: Self = Self::Flows {
        follow: false,
        only: Only {
            since: None,
            pod: None,
            rule: None,
            verdict: None,
        },
    };
}

/// A pod's network as the one who made it tells of it. It says which interface is which pod's; that there is such a
/// pod, and that it is this node's, is for the API server to confirm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// Interfaces of the node that lead into the pod's network namespace, by index.
    pub interfaces: BTreeSet<u32>,
    /// Addresses that the pod was given.
    pub addresses: BTreeSet<IpAddr>,
}

/// How things stand with an [`Attachment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attached {
    /// The pod's interfaces are judged by its policy, since this generation at the latest.
    InForce(u32),
    /// Not yet, and why; to be asked again.
    WaitsFor(String),
}

/// What is answered without asking the loop.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Records of late.
    pub recent: Arc<Recent>,
    /// Alerts.
    pub alerts: Arc<Alerts>,
}

/// A request on its way to the loop, with the way back: lines, or why not.
#[derive(Debug)]
pub struct Ask {
    /// The request.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Vec<Value>, String>>,
}

/// Binds the socket; one that a dead agent left is replaced (the instance's lock has been taken before).
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = socket.parent() {
        // One that is there already may be somebody else's: its mode stays. What lies in it is of mode 0600 anyhow.
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until the loop is gone.
pub async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>, kept: Kept) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(answer(stream, asks.clone(), kept.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept on the socket");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, asks: mpsc::Sender<Ask>, kept: Kept) {
    let asker = asker(&stream);
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let read = BufReader::new(reader.take(LONGEST)).read_line(&mut line).await;
    let request = match read {
        Ok(_) => serde_json::from_str::<Request>(&line).map_err(|e| format!("not a request: {e}")),
        Err(error) => Err(format!("cannot read the request: {error}")),
    };
    let lines = match request {
        Ok(Request::Flows { follow, only }) => {
            // A client that went away ends this; nothing else is lost.
            let _ = flows(&mut writer, &kept.recent, follow, &only).await;
            return;
        }
        Ok(Request::Alerts {
            since,
            pod,
            rule,
            verdict,
        }) => {
            let since = since.and_then(|seconds| {
                let ago = SignedDuration::from_secs(i64::try_from(seconds).ok()?);
                Timestamp::now().checked_sub(ago).ok()
            });
            let query = Query {
                since,
                pod,
                rule,
                verdict,
            };
            let _ = alerts(&mut writer, kept.alerts, query).await;
            return;
        }
        Ok(mut request) => {
            if let Request::Confirm { by, .. } = &mut request {
                *by = Some(asker);
            }
            let (sender, receiver) = oneshot::channel();
            match asks
                .send(Ask {
                    request,
                    answer: sender,
                })
                .await
            {
                Ok(()) => receiver.await.unwrap_or_else(|_| Err("the agent is ending".to_owned())),
                Err(_) => Err("the agent is ending".to_owned()),
            }
        }
        Err(error) => Err(error),
    };
    let lines = lines.unwrap_or_else(|error| vec![serde_json::json!({ "failed": error })]);
    let mut text = String::new();
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    let _ = writer.write_all(text.as_bytes()).await;
}

/// Who is at the other end, as the kernel has it.
fn asker(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(peer) => {
            let pid = peer.pid().map_or_else(String::new, |pid| format!(", process {pid}"));
            format!("cellwall confirm by user {}{pid}", peer.uid())
        }
        Err(error) => format!("cellwall confirm by an unknown user ({error})"),
    }
}

/// The counts, then the alerts; a client that reads slowly makes the store wait, and nothing pile up.
async fn alerts(writer: &mut (impl AsyncWriteExt + Unpin), alerts: Arc<Alerts>, query: Query) -> io::Result<()> {
    let (lines, mut written) = mpsc::channel::<String>(16);
    let reading = tokio::task::spawn_blocking(move || tell_alerts(&alerts, &query, &lines));
    while let Some(text) = written.recv().await {
        writer.write_all(text.as_bytes()).await?;
    }
    if let Ok(Err(error)) = reading.await {
        let failed = serde_json::json!({ "failed": error });
        writer.write_all(format!("{failed}\n").as_bytes()).await?;
    }
    Ok(())
}

fn tell_alerts(alerts: &Alerts, query: &Query, lines: &mpsc::Sender<String>) -> Result<(), String> {
    const CHUNK: usize = 64 << 10;
    let counts = alerts.counts()?;
    let mut text = format!("{}\n", serde_json::json!({ "counts": counts }));
    alerts.list(query, |alert| {
        // why: an alert serializes, as every line of the answer shows
        text.push_str(&serde_json::to_string(&alert).unwrap_or_default());
        text.push('\n');
        text.len() < CHUNK || lines.blocking_send(std::mem::take(&mut text)).is_ok()
    })?;
    // A client that went away needs no answer.
    let _ = lines.blocking_send(text);
    Ok(())
}

async fn flows(
    writer: &mut (impl AsyncWriteExt + Unpin),
    recent: &Recent,
    follow: bool,
    only: &Only,
) -> io::Result<()> {
    let (kept, mut news) = recent.all_and_follow();
    let now = Timestamp::now();
    for chunk in kept.chunks(256) {
        let mut text = Vec::new();
        for record in chunk.iter().filter(|record| only.fits(record, now)) {
            serde_json::to_writer(&mut text, &**record)?;
            text.push(b'\n');
        }
        writer.write_all(&text).await?;
    }
    if !follow {
        return Ok(());
    }
    loop {
        match news.recv().await {
            Ok(record) if !only.fits(&record, Timestamp::now()) => {}
            Ok(record) => {
                let mut text = serde_json::to_vec(&*record)?;
                text.push(b'\n');
                writer.write_all(&text).await?;
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                // A reader that is too slow is told what it missed; the records themselves are in the flow log.
                writer
                    .write_all(format!("{{\"missed\":{missed}}}\n").as_bytes())
                    .await?;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

/// The asking side.
pub mod client {
    use std::io::{self, BufRead, BufReader, Write};
    use std::os::unix::net::UnixStream;
    use std::path::Path;

    use serde_json::Value;

    use super::Request;

    /// Why there is no answer.
    #[derive(Debug, thiserror::Error)]
    #[allow(missing_docs, reason = "the message says it")]
    pub enum ClientError {
        #[error("no agent answers at {socket}; start one with `cellwall run`, or name its instance with --instance")]
        NoAgent { socket: String, source: io::Error },
        #[error("not allowed to ask the agent at {socket}; run this as root")]
        Denied { socket: String, source: io::Error },
        #[error("the agent's answer broke off")]
        Broken { source: io::Error },
        #[error("the agent's answer is not JSON")]
        NotJson { source: serde_json::Error },
        #[error("{message}")]
        Failed { message: String },
    }

    /// Asks, and hands each line of the answer to `each` until it answers false.
    pub fn ask(socket: &Path, request: &Request, mut each: impl FnMut(Value) -> bool) -> Result<(), ClientError> {
        let shown = socket.display().to_string();
        let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Denied { socket: shown, source },
            _ => ClientError::NoAgent { socket: shown, source },
        })?;
        let mut line = serde_json::to_vec(request).map_err(|source| ClientError::NotJson { source })?;
        line.push(b'\n');
        stream
            .write_all(&line)
            .map_err(|source| ClientError::Broken { source })?;
        for line in BufReader::new(stream).lines() {
            let line = line.map_err(|source| ClientError::Broken { source })?;
            let value: Value = serde_json::from_str(&line).map_err(|source| ClientError::NotJson { source })?;
            if let Some(message) = value.get("failed").and_then(Value::as_str) {
                return Err(ClientError::Failed {
                    message: message.to_owned(),
                });
            }
            if !each(value) {
                break;
            }
        }
        Ok(())
    }

    /// All lines of the answer.
    pub fn ask_all(socket: &Path, request: &Request) -> Result<Vec<Value>, ClientError> {
        let mut all = Vec::new();
        ask(socket, request, |value| {
            all.push(value);
            true
        })?;
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, metadata, set_permissions};

    use super::*;

    fn mode(path: &Path) -> u32 {
        metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone_and_a_directory_that_was_there_keeps_its_mode() {
        let place = tempfile::tempdir().unwrap();
        let own = place.path().join("own/own.sock");
        let _listener = bind(&own).unwrap();
        assert_eq!((mode(&place.path().join("own")), mode(&own)), (0o700, 0o600));

        let shared = place.path().join("open");
        create_dir(&shared).unwrap();
        set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
        let socket = shared.join("open.sock");
        for _start in 0..2 {
            let _listener = bind(&socket).unwrap();
            assert_eq!((mode(&shared), mode(&socket)), (0o755, 0o600));
        }
    }
}

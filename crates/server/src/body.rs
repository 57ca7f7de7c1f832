//! The bodies of requests, read within the server's limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::Limits;
use crate::failure::{Failure, FailureKind};
use crate::service::Service;

/// A JSON body of this shape, whatever content type it claims: curl claims a form's.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Service> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Failure> {
        parse(&read_again(request.into_body(), service.limits().body_bytes).await?).map(Json)
    }
}

/// # Errors
/// If the bytes are no JSON, or not of this shape; the message says where, and names the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    if bytes.len() > MOST_VALUES && values(bytes) > MOST_VALUES {
        let message = format!("the body has more than {MOST_VALUES} values; divide the request");
        return Err(Failure::new(FailureKind::TooManyItems, message));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if !error.is_data() {
            return Failure::new(FailureKind::Malformed, format!("the body is not JSON: {error}"));
        }
        // A second reading, that notes where it is, only where the first has failed.
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let place = serde_path_to_error::deserialize::<_, T>(&mut json).err().map(|error| error.path().to_string());
        let error = shortened(&error.to_string());
        match place.filter(|place| place != ".") {
            Some(place) => Failure::new(FailureKind::Malformed, format!("`{place}`: {error}")).about(&place),
            None if let Some(field) = missing_field(&error) => {
                Failure::new(FailureKind::Malformed, format!("the request has no `{field}`")).about(field)
            }
            None => Failure::new(FailureKind::Malformed, format!("the request is not of the expected shape: {error}")),
        }
    })
}

/// The field that serde misses, if that is its message.
fn missing_field(error: &str) -> Option<&str> {
    error.strip_prefix("missing field `")?.split('`').next()
}

/// Values of a request: token ids are the most that there is use for. Each may take some fifty bytes of memory, and be one of the body.
const MOST_VALUES: usize = 1 << 20;

/// Values of a JSON text in lists and objects by the memory that they take: commas and brackets outside of strings.
fn values(json: &[u8]) -> usize {
    let (mut weight, mut in_string, mut escaped) = (0, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' if !in_string => weight += 1,
            // A map begins with room for several entries.
            b'{' if !in_string => weight += 12,
            _ => {}
        }
    }
    weight + 1
}

/// A body that [`receive`] has read before; within a server's layers it is there already.
async fn read_again(body: Body, most: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, most).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(_) => Err(too_large(most)),
    }
}

/// How many requests, and how many bytes of their bodies, are taken on at a time.
pub(crate) struct Admission {
    requests: Arc<Semaphore>,
    /// One permit for each KiB.
    bodies: Arc<Semaphore>,
    /// One permit for each KiB, too.
    answers: Arc<Semaphore>,
    most_requests: usize,
    most_bodies: usize,
    most_answers: usize,
    body_bytes: usize,
    read_timeout: Duration,
}

/// A request's share of what is taken on at a time, given back when it is dropped.
pub(crate) struct Admitted {
    _request: OwnedSemaphorePermit,
    _body: Option<OwnedSemaphorePermit>,
}

/// An answer's share of the memory of all answers, given back when it is dropped.
pub(crate) struct AnswerRoom {
    _permits: Option<OwnedSemaphorePermit>,
}

/// Memory for a body, paid for in permits as it grows.
struct Buffer {
    bytes: Vec<u8>,
    paid: Option<OwnedSemaphorePermit>,
}

/// Bytes a second that a body must bring in the long run: without it one byte now and then would hold memory for days.
const SLOWEST: usize = 8 << 10;

/// Bytes of an answer that is not counted: there are no more of them at a time than requests, and nobody is refused for one.
const SMALL_ANSWER: u64 = 64 << 10;

/// Seconds after which it is worth trying again when requests or their bodies are too many: most requests take less than one.
const RETRY_AFTER: u32 = 1;

impl Admission {
    pub(crate) fn new(limits: &Limits) -> Self {
        let most_requests = limits.concurrent_requests.clamp(1, Semaphore::MAX_PERMITS);
        // One request at a time must go through, however little is allowed for all.
        let most_bodies = limits.bodies_bytes.max(limits.body_bytes.saturating_add(1 << 10));
        let most_answers = kib(limits.answers_bytes).clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Admission {
            requests: Arc::new(Semaphore::new(most_requests)),
            bodies: Arc::new(Semaphore::new(kib(most_bodies).min(Semaphore::MAX_PERMITS))),
            answers: Arc::new(Semaphore::new(most_answers)),
            most_requests,
            most_bodies,
            most_answers,
            body_bytes: limits.body_bytes,
            read_timeout: limits.read_timeout,
        }
    }

    /// Room for an answer of so many bytes, which its client may take its time to read.
    ///
    /// # Errors
    /// If others have it.
    pub(crate) fn answer(&self, bytes: u64) -> Result<AnswerRoom, Failure> {
        if bytes <= SMALL_ANSWER {
            return Ok(AnswerRoom { _permits: None });
        }
        // One that is larger than the room of all is alone in it.
        let permits = kib(usize::try_from(bytes).unwrap_or(usize::MAX)).min(self.most_answers);
        let permits = u32::try_from(permits).ok();
        let permits = permits.and_then(|permits| Arc::clone(&self.answers).try_acquire_many_owned(permits).ok());
        if permits.is_none() {
            let most = self.most_answers << 10;
            let kind = FailureKind::Overloaded { retry_after: RETRY_AFTER };
            let message =
                format!("the answers that are being sent have more than {most} bytes together; try again in 1 s");
            return Err(Failure::new(kind, message));
        }
        Ok(AnswerRoom { _permits: permits })
    }

    fn request(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.requests).try_acquire_owned().map_err(|_| {
            let most = self.most_requests;
            let kind = FailureKind::Overloaded { retry_after: RETRY_AFTER };
            Failure::new(kind, format!("{most} requests are worked on, as many as may be at a time; try again in 1 s"))
        })
    }
}

/// Takes a request on and reads its body, if there is room for both.
///
/// A client that sends its body slowly takes up memory, but no place among the requests, which are fewer.
///
/// # Errors
/// If there are too many requests or bodies at a time, or the body is too large or too slow.
pub(crate) async fn receive(request: Request, admission: &Admission) -> Result<(Request, Admitted), Failure> {
    if request.body().is_end_stream() {
        return Ok((request, Admitted { _request: admission.request()?, _body: None }));
    }
    // Who will be turned away need not send a body first.
    drop(admission.request()?);
    let (parts, body) = request.into_parts();
    let Buffer { bytes, paid } = read(body, admission).await?;
    let admitted = Admitted { _request: admission.request()?, _body: paid };
    Ok((Request::from_parts(parts, Body::from(bytes)), admitted))
}

async fn read(mut body: Body, admission: &Admission) -> Result<Buffer, Failure> {
    let announced = body.size_hint().lower();
    if announced > admission.body_bytes as u64 {
        return Err(too_large(admission.body_bytes));
    }
    let (start, mut buffer) = (Instant::now(), Buffer { bytes: Vec::new(), paid: None });
    loop {
        let slow = || {
            let seconds = admission.read_timeout.as_secs_f64();
            let message =
                format!("the body did not come: nothing of it in {seconds} s, or less than {SLOWEST} bytes a second");
            Failure::new(FailureKind::Slow, message)
        };
        let data = match timeout(admission.read_timeout, body.frame()).await.map_err(|_| slow())? {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                return Err(Failure::new(FailureKind::Malformed, format!("the body cannot be read: {error}")));
            }
            None => return Ok(buffer),
        };
        if buffer.bytes.len() + data.len() > admission.body_bytes {
            return Err(too_large(admission.body_bytes));
        }
        buffer.push(&data, announced, admission)?;
        if start.elapsed() > admission.read_timeout + Duration::from_secs((buffer.bytes.len() / SLOWEST) as u64) {
            return Err(slow());
        }
    }
}

impl Buffer {
    /// Adds a part of a body of which so many bytes were announced, or 0.
    fn push(&mut self, data: &[u8], announced: u64, admission: &Admission) -> Result<(), Failure> {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            // What is announced need not come: memory grows with what has come, but not beyond.
            let most = if announced > 0 { announced as usize } else { admission.body_bytes };
            let capacity = (2 * self.bytes.capacity()).min(most).max(needed);
            self.pay(capacity, admission)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    fn pay(&mut self, capacity: usize, admission: &Admission) -> Result<(), Failure> {
        let more = kib(capacity) - self.paid.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let permits = u32::try_from(more).ok();
        let permits = permits.and_then(|more| Arc::clone(&admission.bodies).try_acquire_many_owned(more).ok());
        match (permits, &mut self.paid) {
            (Some(permits), Some(paid)) => paid.merge(permits),
            (Some(permits), paid) => *paid = Some(permits),
            (None, _) => {
                let most = admission.most_bodies;
                let kind = FailureKind::Overloaded { retry_after: RETRY_AFTER };
                let message =
                    format!("the bodies of all requests have more than {most} bytes together; try again in 1 s");
                return Err(Failure::new(kind, message));
            }
        }
        Ok(())
    }
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 10)
}

fn too_large(most: usize) -> Failure {
    let message = format!("the body is larger than the {most} bytes of a request; divide the request");
    Failure::new(FailureKind::TooLarge, message)
}

/// A message on one line, and of a long one, which quotes a request, the beginning and the end.
pub(crate) fn shortened(message: &str) -> String {
    const MOST: usize = 400;
    let message = message.replace(char::is_control, " ");
    if message.len() <= MOST {
        return message;
    }
    let (head, tail) = (message.floor_char_boundary(MOST / 2), message.ceil_char_boundary(message.len() - MOST / 2));
    format!("{}...{}", &message[..head], &message[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_outside_of_strings() {
        assert_eq!(values(b"[]"), 2);
        assert_eq!(values(br#"{"a": [1, 2, 3], "b": "x, y, \", z"}"#), 17);
        assert_eq!(values(br#"["\\", ",", "\\\"," ]"#), 4);
    }

    #[test]
    fn a_body_of_too_many_values_is_refused_before_it_takes_memory() {
        let body = format!("[{}0]", "0,".repeat(MOST_VALUES));
        let failure = parse::<Vec<u8>>(body.as_bytes()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::TooManyItems);
        let text = format!("\"{}\"", ",".repeat(2 * MOST_VALUES));
        assert_eq!(parse::<String>(text.as_bytes()).unwrap().len(), 2 * MOST_VALUES);
    }
}

use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use tower::service_fn;

use super::*;
use crate::journal::{Entry, Journal};

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    NotSent,
    AnswerLost,
    HangsUndone,
    HangsDone,
    Status(u16),
}

const FAULTS: [Fault; 8] = [
    Fault::NotSent,
    Fault::AnswerLost,
    Fault::HangsUndone,
    Fault::HangsDone,
    Fault::Status(429),
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(504),
];

/// The one object, with the API server's compare-and-swap.
#[derive(Default)]
struct Object {
    version: u64,
    data: std::collections::BTreeMap<String, String>,
    requests: usize,
    deleted: bool,
}

impl Object {
    fn handle(&mut self, method: &Method, body: &Value) -> (u16, Value) {
        if self.deleted {
            return (404, json!({"kind": "Status", "code": 404, "reason": "NotFound"}));
        }
        if *method == Method::PATCH {
            if body["metadata"]["resourceVersion"].as_str() != Some(&self.version.to_string()) {
                return (409, json!({"kind": "Status", "code": 409, "reason": "Conflict"}));
            }
            for (key, value) in body["data"].as_object().unwrap() {
                self.data.insert(key.clone(), value.as_str().unwrap().to_owned());
            }
            self.version += 1;
        }
        let meta = json!({"name": "consistent-backup-r1", "resourceVersion": self.version.to_string()});
        (200, json!({"metadata": meta, "data": self.data}))
    }

    fn events(&self) -> Vec<u32> {
        let entries = self.data.iter().filter(|(k, _)| k.starts_with("e0"));
        entries.map(|(_, v)| serde_json::from_str::<Entry<u32>>(v).unwrap().event).collect()
    }
}

type Shared = Arc<Mutex<Object>>;

fn journal(fault: impl Fn(usize) -> Fault + Send + Sync + Copy + 'static) -> (Journal<u32>, Shared) {
    let object = Shared::default();
    object.lock().unwrap().data.insert("writer".into(), "me/0".into());
    let server = object.clone();
    let client = kube::Client::new(
        service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let fault = {
                    let mut server = server.lock().unwrap();
                    server.requests += 1;
                    fault(server.requests - 1)
                };
                let done = || server.lock().unwrap().handle(&parts.method, &body);
                let (code, answer) = match fault {
                    Fault::None => done(),
                    Fault::Status(code) => (code, json!({"kind": "Status", "code": code})),
                    Fault::NotSent => return Err(kube::Error::Service("not sent".into())),
                    Fault::AnswerLost => {
                        done();
                        return Err(kube::Error::Service("answer lost".into()));
                    }
                    Fault::HangsUndone => std::future::pending().await,
                    Fault::HangsDone => {
                        done();
                        std::future::pending().await
                    }
                };
                Ok(Response::builder().status(code).body(Body::from(answer.to_string().into_bytes())).unwrap())
            }
        }),
        "shop",
    );
    let stored = serde_json::from_value(object.lock().unwrap().handle(&Method::GET, &Value::Null).1).unwrap();
    let maps = ConfigMaps::on(client, "shop", "r1");
    (maps.open("me".into(), &crate::journal::Stored::new(stored)), object)
}

fn entry(event: u32) -> Entry<u32> {
    Entry { at: jiff::Timestamp::UNIX_EPOCH, event, detail: crate::record::entry::Detail::default() }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_is_queued_goes_with_what_must_be_durable() {
    let (journal, object) = journal(|_| Fault::None);
    (0..5).for_each(|n| journal.later(&entry(n)));
    journal.later_put("pods.after", "[]".into());
    assert_eq!(journal.durable(vec![entry(5), entry(6)], LONG).await, Append::Written);
    let object = object.lock().unwrap();
    assert_eq!(object.events(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!((object.requests, object.data["pods.after"].as_str()), (1, "[]"));
}

#[tokio::test(start_paused = true)]
async fn any_broken_request_leaves_every_entry_once_and_in_order() {
    for broken in 0..5 {
        for fault in FAULTS {
            let (journal, object) = journal(move |n| if n == broken { fault } else { Fault::None });
            for n in 0..3 {
                journal.later(&entry(2 * n));
                let written = journal.durable(vec![entry(2 * n + 1)], LONG).await;
                assert_eq!(written, Append::Written, "{broken} {fault:?}");
            }
            journal.later(&entry(6));
            journal.settle(LONG).await.unwrap();
            assert_eq!(object.lock().unwrap().events(), [0, 1, 2, 3, 4, 5, 6], "{broken} {fault:?}");
            assert!(!journal.taken_over());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_broken_requests_in_a_row_change_nothing() {
    for first in FAULTS {
        for second in FAULTS {
            let (journal, object) = journal(move |n| match n {
                1 => first,
                2 => second,
                _ => Fault::None,
            });
            for n in 0..4 {
                assert_eq!(journal.durable(vec![entry(n)], LONG).await, Append::Written, "{first:?} {second:?}");
            }
            assert_eq!(object.lock().unwrap().events(), [0, 1, 2, 3], "{first:?} {second:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_durable_write_fails_in_time_and_what_comes_after_is_whole() {
    for fault in FAULTS {
        let (journal, object) = journal(move |n| if n < 6 { fault } else { Fault::None });
        let begin = Instant::now();
        let answer = journal.durable(vec![entry(0)], Duration::from_millis(300)).await;
        assert!(begin.elapsed() <= Duration::from_millis(301));
        if matches!(fault, Fault::AnswerLost) {
            continue;
        }
        assert!(matches!(answer, Append::Failed(_)), "{fault:?}");
        assert_eq!(journal.durable(vec![entry(1)], LONG).await, Append::Written, "{fault:?}");
        // What was given up is not taken back: it may have been written, and what follows must fit either way.
        assert_eq!(object.lock().unwrap().events(), [0, 1], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_writer_ends_ours_for_good() {
    let (journal, object) = journal(|_| Fault::None);
    assert_eq!(journal.durable(vec![entry(0)], LONG).await, Append::Written);
    {
        let mut object = object.lock().unwrap();
        object.version += 1;
        object.data.insert("writer".into(), "you/0".into());
    }
    journal.later(&entry(1));
    assert_eq!(journal.durable(vec![entry(2)], LONG).await, Append::TakenOver);
    assert!(journal.taken_over());
    journal.until_taken_over().await;
    let requests = object.lock().unwrap().requests;
    assert_eq!(journal.durable(vec![entry(3)], LONG).await, Append::TakenOver);
    assert!(journal.settle(LONG).await.is_err());
    let object = object.lock().unwrap();
    assert_eq!((object.events(), object.requests), (vec![0], requests));
}

#[tokio::test(start_paused = true)]
async fn a_changed_label_is_written_over() {
    let (journal, object) = journal(|_| Fault::None);
    object.lock().unwrap().version += 1;
    assert_eq!(journal.durable(vec![entry(0)], LONG).await, Append::Written);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_journal_is_said_to_be_deleted() {
    let (journal, object) = journal(|_| Fault::None);
    object.lock().unwrap().deleted = true;
    let gone = Append::Failed("configmap/consistent-backup-r1 in shop was deleted".into());
    assert_eq!(journal.durable(vec![entry(0)], LONG).await, gone);
    assert_eq!(journal.durable(vec![entry(1)], LONG).await, gone);
    assert!(!journal.taken_over());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_told_at_once_and_what_may_wait_waits() {
    let (journal, object) = journal(|n| if n == 0 { Fault::Status(403) } else { Fault::None });
    journal.later(&entry(0));
    let begin = Instant::now();
    assert!(matches!(journal.durable(vec![entry(1)], LONG).await, Append::Failed(_)));
    assert!(begin.elapsed() < Duration::from_secs(1));
    journal.settle(LONG).await.unwrap();
    assert_eq!(object.lock().unwrap().events(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_last_words_are_written_after_the_last_handle_is_gone() {
    let (journal, object) = journal(|n| if n < 2 { Fault::Status(500) } else { Fault::None });
    journal.later(&entry(0));
    drop(journal);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(object.lock().unwrap().events(), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_had_no_room_is_not_passed_over_in_silence() {
    let (journal, _) = journal(|_| Fault::None);
    journal.later_put("e0000", String::new());
    assert!(journal.settle(LONG).await.is_err_and(|why| why.contains("no key")));
    let told = journal.durable(vec![entry(0)], LONG).await;
    assert!(matches!(told, Append::Failed(why) if why.contains("no key")), "before anything is done upon it");
    assert_eq!(journal.durable(vec![entry(1)], LONG).await, Append::Written);
}

//! What changes nothing is tried again, and nothing else ever is.

use reqwest::Method;

use crate::front::{Front, patient, refusal};
use crate::stub::{Answer, BUSY, OK, Stub};

const BROKEN: Answer = Answer::Say("");

#[tokio::test]
async fn a_read_is_tried_again() {
    for (answers, status, tries) in [
        (&[BROKEN, OK][..], 200, 2),
        (&[BUSY, BROKEN, OK], 200, 3),
        (&[BUSY, BUSY, BUSY, OK], 503, 3),
        (&[BROKEN, BROKEN, BROKEN, OK], 502, 3),
    ] {
        let stub = Stub::start(answers).await;
        let answer = Front::before(&stub.url, patient()).await.get("/api/tasks").await;
        assert_eq!((answer.status().as_u16(), stub.count()), (status, tries));
    }
}

#[tokio::test]
async fn a_change_is_never_tried_again() {
    for (method, body) in [
        (Method::POST, "{}"),
        (Method::POST, ""),
        (Method::PUT, "{}"),
        (Method::DELETE, ""),
        (Method::PATCH, "{}"),
        (Method::GET, "a body"),
    ] {
        for (answers, status) in [(&[BROKEN, OK], 502), (&[BUSY, OK], 503)] {
            let stub = Stub::start(answers).await;
            let front = Front::before(&stub.url, patient()).await;
            let sent = front.request(method.clone(), "/api/servers/a").body(body).send().await.unwrap();
            assert_eq!((refusal(sent).await.0, stub.count()), (status, 1), "{method} {body}");
        }
    }
}

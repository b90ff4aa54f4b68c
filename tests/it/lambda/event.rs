//! Events as Lambda hands them over.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::stack::TOKEN;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A request by an HTTP API or a function URL.
pub fn request(method: &str, path: &str, body: Option<Value>) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "authorization": format!("Bearer {TOKEN}"),
            "content-type": "application/json",
            "host": "x.lambda-url.eu-west-1.on.aws",
            "x-forwarded-proto": "https",
        },
        "requestContext": {
            "accountId": "anonymous", "apiId": "x", "domainName": "x.lambda-url.eu-west-1.on.aws", "stage": "$default",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "t" },
            "requestId": "r", "routeKey": "$default", "timeEpoch": 1_700_000_000_000_i64,
        },
        "body": body.as_ref().map(Value::to_string),
        "isBase64Encoded": false,
    })
}

/// A request by a REST API with a stage, with a body that came as base64.
pub fn rest_request(method: &str, path: &str, body: Option<Value>) -> Value {
    json!({
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": { "Authorization": format!("Bearer {TOKEN}"), "Content-Type": "application/json", "Host": "x.example" },
        "queryStringParameters": null,
        "requestContext": {
            "accountId": "123456789012", "apiId": "x", "stage": "prod", "resourcePath": "/{proxy+}",
            "httpMethod": method, "path": format!("/prod{path}"), "requestId": "r", "identity": {},
        },
        "body": body.map(|body| STANDARD.encode(body.to_string())),
        "isBase64Encoded": true,
    })
}

/// Messages that Amazon MQ took from `queue`, with what it says of each.
pub fn messages(queue: &str, bodies: &[&str]) -> Value {
    let record = |body: &&str| {
        json!({
            "basicProperties": {
                "contentType": "application/json", "contentEncoding": null, "deliveryMode": 2, "priority": null,
                "headers": { "traceparent": { "bytes": TRACEPARENT.as_bytes() } },
                "correlationId": null, "replyTo": null, "expiration": null, "messageId": null, "timestamp": null,
                "type": null, "userId": null, "appId": null, "clusterId": null, "bodySize": body.len(),
            },
            "redelivered": false,
            "data": STANDARD.encode(body),
        })
    };
    json!({
        "eventSource": "aws:rmq",
        "eventSourceArn": "arn:aws:mq:eu-west-1:123456789012:broker:test:b-9bcfa592-423a-4942-879d-eb284b418fc8",
        "rmqMessagesByQueue": { format!("{queue}::/"): bodies.iter().map(record).collect::<Vec<_>>() },
    })
}

/// It is time for the chores.
pub fn scheduled() -> Value {
    json!({
        "version": "0", "id": "i", "detail-type": "Scheduled Event", "source": "aws.events",
        "account": "123456789012", "time": "2026-01-01T00:00:00Z", "region": "eu-west-1",
        "resources": ["arn:aws:events:eu-west-1:123456789012:rule/test"], "detail": {},
    })
}

//! What a runtime says, and what it is answered, without an agent and with one that is scripted.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

const POD: &str =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_UID=u-1;K8S_POD_INFRA_CONTAINER_ID=c";

fn environment(command: &'static str) -> impl Fn(&str) -> Option<String> {
    move |name| {
        let value = match name {
            COMMAND => command,
            "CNI_CONTAINERID" => "c",
            "CNI_IFNAME" => "eth0",
            "CNI_NETNS" => "/run/netns/none",
            "CNI_ARGS" => POD,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

fn config(more: &Value) -> Value {
    let mut config = json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "cellwall", "socket": "/nowhere/it.sock", "timeoutSeconds": 1,
        "prevResult": {
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/none"}],
            "ips": [{"address": "192.0.2.10/24", "interface": 1}, {"address": "2001:db8::a/64", "interface": 1}],
        },
    });
    let (config_map, more) = (config.as_object_mut().unwrap(), more.as_object().unwrap());
    config_map.extend(more.clone());
    config
}

fn call(command: &'static str, more: &Value) -> Result<Option<Value>, Value> {
    answer(environment(command), &config(more).to_string())
}

fn attachment() -> Attachment {
    Attachment {
        namespace: "shop".into(),
        name: "web".into(),
        uid: "u-1".into(),
        interfaces: [7].into(),
        addresses: ["192.0.2.10".parse().unwrap()].into(),
    }
}

/// An agent that gives these answers, one a connection; what it was asked comes out at the end.
fn agent(answers: &'static [&'static str]) -> (tempfile::TempDir, PathBuf, std::thread::JoinHandle<Vec<String>>) {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("it.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let serving = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for text in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            asked.push(line);
            writeln!(&stream, "{text}").unwrap();
        }
        asked
    });
    (place, socket, serving)
}

fn configured(socket: &Path, when_away: &str) -> Config {
    let more = json!({"socket": socket, "whenAway": when_away});
    Config::read(&config(&more).to_string()).unwrap()
}

#[test]
fn the_versions_spoken_are_told_and_another_is_refused_by_the_number_of_the_specification() {
    let told = call("VERSION", &json!({})).unwrap().unwrap();
    assert_eq!(told["cniVersion"], "1.1.0");
    assert_eq!(told["supportedVersions"].as_array().unwrap().len(), VERSIONS.len());
    let refused = call("ADD", &json!({"cniVersion": "0.2.0"})).unwrap_err();
    assert_eq!((&refused["code"], &refused["cniVersion"]), (&json!(1), &json!("0.2.0")));
}

#[test]
fn each_fault_of_a_call_has_its_number_and_says_what_to_do() {
    let code = |answer: Result<Option<Value>, Value>| answer.unwrap_err()["code"].as_u64().unwrap();
    assert_eq!(code(call("DANCE", &json!({}))), 4);
    let without = |name: &str| name != "CNI_NETNS";
    let lacking = |name: &str| environment("ADD")(name).filter(|_| without(name));
    assert_eq!(code(answer(lacking, &config(&json!({})).to_string())), 4);
    assert_eq!(code(answer(environment("ADD"), "{")), 6);
    assert_eq!(code(call("ADD", &json!({"whenAway": "perhaps"}))), 6);
    assert_eq!(code(call("ADD", &json!({"timeoutSeconds": 0}))), 7);
    let first = call("ADD", &json!({"prevResult": null})).unwrap_err();
    assert!(
        first["msg"].as_str().unwrap().contains("behind the one that makes"),
        "{first}"
    );
    // The network namespace is not there.
    assert_eq!(code(call("ADD", &json!({}))), 100);
    // A runtime that does not tell the UID cannot say which pod of a name it means.
    let no_uid = |name: &str| match name {
        "CNI_ARGS" => Some("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web".to_owned()),
        name => environment("ADD")(name),
    };
    assert_eq!(code(answer(no_uid, &config(&json!({})).to_string())), 4);
}

#[test]
fn what_is_no_pod_gets_the_result_of_the_plugins_before_as_it_is() {
    let container = |name: &str| environment("ADD")(name).filter(|_| name != "CNI_ARGS");
    let result = answer(container, &config(&json!({"cniVersion": "1.1.0"})).to_string());
    let mut expected = config(&json!({}))["prevResult"].clone();
    expected["cniVersion"] = "1.1.0".into();
    assert_eq!(result, Ok(Some(expected)));
}

#[test]
fn an_end_never_fails_whatever_else_is_gone() {
    assert_eq!(call("DEL", &json!({"prevResult": null})), Ok(None));
    assert_eq!(call("GC", &json!({"cni.dev/valid-attachments": []})), Ok(None));
}

#[test]
fn the_status_is_that_of_the_agent_unless_pods_may_start_without_one() {
    assert_eq!(call("STATUS", &json!({})).unwrap_err()["code"], 50);
    assert_eq!(call("STATUS", &json!({"whenAway": "pass"})), Ok(None));
    let (_place, socket, serving) = agent(&["{}"]);
    assert_eq!(call("STATUS", &json!({"socket": socket})), Ok(None));
    serving.join().unwrap();
}

#[test]
fn a_pod_is_asked_for_until_its_policy_is_in_force() {
    let (_place, socket, serving) = agent(&[r#"{"waits_for":"the API server"}"#, r#"{"in_force":7}"#]);
    let config = configured(&socket, "wait");
    assert_eq!(wait_in_force(&config, &attachment(), Duration::from_secs(20)), Ok(()));
    let asked = serving.join().unwrap();
    assert_eq!(asked.len(), 2);
    assert!(asked[0].contains(r#""uid":"u-1""#), "{asked:?}");
}

#[test]
fn what_the_agent_refuses_is_refused_at_once_whatever_was_chosen() {
    let (_place, socket, serving) = agent(&[r#"{"failed":"pod shop/web is on node other"}"#]);
    let config = configured(&socket, "pass");
    let refused = wait_in_force(&config, &attachment(), Duration::from_secs(20)).unwrap_err();
    assert_eq!(refused.code(), 101);
    serving.join().unwrap();
}

#[test]
fn without_an_agent_a_pod_waits_is_refused_or_starts_as_was_chosen() {
    let nowhere = Path::new("/nowhere/it.sock");
    let tried = |chosen: &str| {
        let began = Instant::now();
        let patience = Duration::from_millis(300);
        let done = wait_in_force(&configured(nowhere, chosen), &attachment(), patience);
        (done.map_err(|error| error.code()), began.elapsed() >= patience)
    };
    assert_eq!(tried("wait"), (Err(11), true));
    assert_eq!(tried("refuse"), (Err(11), false));
    assert_eq!(tried("pass"), (Ok(()), false));
}

#[test]
fn a_policy_that_is_late_fails_the_pod_unless_it_may_start_without() {
    for (chosen, expected) in [("wait", Err(11)), ("refuse", Err(11)), ("pass", Ok(()))] {
        let (_place, socket, serving) = agent(&[r#"{"waits_for":"the API server"}"#]);
        let done = wait_in_force(&configured(&socket, chosen), &attachment(), Duration::ZERO);
        assert_eq!(done.map_err(|error| error.code()), expected, "{chosen}");
        serving.join().unwrap();
    }
}

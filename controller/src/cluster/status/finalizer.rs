//! The finalizer that holds an object while rules name it.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::cluster::watch::FINALIZER;

/// Its field manager, so that it can be taken off alone.
const HOLDER: &str = "cellwall-in-use";

/// Puts it on a NetworkObject, or takes it off. One that is gone, or was made anew under its name, is left alone.
pub(super) async fn hold(api: &Api<DynamicObject>, name: &str, uid: &str, hold: bool) -> kube::Result<()> {
    let finalizers: Value = if hold { json!([FINALIZER]) } else { json!([]) };
    let object = json!({
        "apiVersion": cellwall_crds::API_VERSION,
        "kind": Kind::NetworkObject.name(),
        "metadata": { "name": name, "uid": uid, "finalizers": finalizers },
    });
    let parameters = PatchParams::apply(HOLDER).force();
    match api.patch(name, &parameters, &Patch::Apply(object)).await {
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}

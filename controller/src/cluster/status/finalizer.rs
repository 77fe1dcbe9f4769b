//! The finalizer that holds an object while rules name it.

use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::cluster::Kind;
use crate::cluster::watch::{FINALIZER, resource};

/// Its field manager, so that it can be taken off alone.
const HOLDER: &str = "cellwall-in-use";
/// How often all are looked at before it is given up: others change the same objects.
const LOOKS: usize = 10;

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

/// Takes it off every NetworkObject, whoever put it on; answers how many. For when no agent is left to do it.
pub async fn release_all(client: &Client) -> kube::Result<usize> {
    let api = Api::all_with(client.clone(), &resource(Kind::NetworkObject));
    let mut released = 0;
    let mut look = 1;
    loop {
        match release_once(&api, &mut released).await {
            // Somebody else wrote to an object meanwhile.
            Err(kube::Error::Api(answer)) if answer.code == 409 && look < LOOKS => look += 1,
            other => return other.map(|()| released),
        }
    }
}

async fn release_once(api: &Api<DynamicObject>, released: &mut usize) -> kube::Result<()> {
    let all = match api.list_metadata(&ListParams::default()).await {
        // Without our kinds there is no object to hold.
        Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
        other => other?,
    };
    for metadata in all.into_iter().map(|object| object.metadata) {
        let (before, name) = (
            metadata.finalizers.unwrap_or_default(),
            metadata.name.unwrap_or_default(),
        );
        let others: Vec<_> = before.iter().filter(|one| *one != FINALIZER).collect();
        if others.len() == before.len() {
            continue;
        }
        // The version goes along: what somebody added since is not taken off.
        let patch = json!({ "metadata": { "finalizers": others, "resourceVersion": metadata.resource_version } });
        match api
            .patch_metadata(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
        {
            Ok(_) => *released += 1,
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

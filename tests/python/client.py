"""Drives the official Python client against the cluster that KUBECONFIG names; any surprise ends in an exception."""

import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
NAMESPACE = "default"


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == code, error
        return error
    raise AssertionError(f"{call.__name__} should have been refused with {code}")


# Create, read, replace, patch, list.
body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="py", labels={"by": "python"}), data={"a": "1"})
made = core.create_namespaced_config_map(NAMESPACE, body)
assert made.metadata.uid and made.metadata.resource_version and made.metadata.creation_timestamp
refused(409, core.create_namespaced_config_map, NAMESPACE, body)
made.data["b"] = "2"
replaced = core.replace_namespaced_config_map("py", NAMESPACE, made)
assert replaced.data == {"a": "1", "b": "2"}
refused(409, core.replace_namespaced_config_map, "py", NAMESPACE, made)
patched = core.patch_namespaced_config_map("py", NAMESPACE, {"data": {"a": None, "c": "3"}})
assert patched.data == {"b": "2", "c": "3"}, patched.data
listed = core.list_namespaced_config_map(NAMESPACE, label_selector="by=python")
assert [item.metadata.name for item in listed.items] == ["py"]
assert refused(404, core.read_namespaced_config_map, "none", NAMESPACE).reason

# Chunked lists add up.
for i in range(5):
    core.create_namespaced_config_map(NAMESPACE, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"chunk-{i}", labels={"chunk": "y"})))
names, token = [], None
while True:
    part = core.list_namespaced_config_map(NAMESPACE, label_selector="chunk", limit=2, _continue=token)
    names += [item.metadata.name for item in part.items]
    token = part.metadata._continue
    if not token:
        break
assert names == [f"chunk-{i}" for i in range(5)], names

# A Deployment comes up, seen by a watch that began before it.
seen = []
started = core.list_namespaced_pod(NAMESPACE).metadata.resource_version


def follow():
    for event in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, label_selector="app=py", resource_version=started, timeout_seconds=60):
        pod = event["object"]
        seen.append((event["type"], pod.metadata.name, pod.status.phase))
        if len({name for _, name, phase in seen if phase == "Running"}) == 2:
            return


follower = threading.Thread(target=follow)
follower.start()
apps.create_namespaced_deployment(NAMESPACE, client.V1Deployment(
    metadata=client.V1ObjectMeta(name="py"),
    spec=client.V1DeploymentSpec(
        replicas=2,
        selector=client.V1LabelSelector(match_labels={"app": "py"}),
        template=client.V1PodTemplateSpec(
            metadata=client.V1ObjectMeta(labels={"app": "py"}),
            spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="nginx:1.14.2")])))))
follower.join(60)
running = {name for _, name, phase in seen if phase == "Running"}
assert len(running) == 2, seen
for name in running:
    kinds = [kind for kind, pod, _ in seen if pod == name]
    assert kinds[0] == "ADDED" and set(kinds[1:]) == {"MODIFIED"}, seen
scale = apps.patch_namespaced_deployment_scale("py", NAMESPACE, {"spec": {"replicas": 1}})
assert scale.spec.replicas == 1
bad = client.V1Pod(metadata=client.V1ObjectMeta(name="bad"), spec=client.V1PodSpec(containers=[client.V1Container(name="c", image="i", image_pull_policy="Maybe")]))
assert "Unsupported value" in refused(422, core.create_namespaced_pod, NAMESPACE, bad).body
apps.delete_namespaced_deployment("py", NAMESPACE, propagation_policy="Foreground")
core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="chunk")
assert not core.list_namespaced_config_map(NAMESPACE, label_selector="chunk").items
assert client.VersionApi().get_code().minor == "36"
print("python client: all well")

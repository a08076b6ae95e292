# What scripts do with Docker's SDK for Python, against the cluster at DOCKER_HOST. The first argument is the image.
import sys
import time

import docker

image = sys.argv[1]
client = docker.from_env()


def until(what, done, limit=60):
    end = time.time() + limit
    while not done():
        assert time.time() < end, what
        time.sleep(0.1)


assert client.ping()
assert client.info()["Swarm"]["LocalNodeState"] == "active"
assert client.swarm.attrs["Spec"]["Name"] == "default"
node = client.nodes.list(filters={"role": "manager"})[0]
assert node.attrs["Status"]["State"] == "ready"
spec = node.attrs["Spec"]
node.update({"Availability": spec["Availability"], "Role": spec["Role"], "Labels": {"sdk": "yes"}})
assert client.nodes.get(node.id).attrs["Spec"]["Labels"] == {"sdk": "yes"}

network = client.networks.create("sdk", driver="overlay", attachable=True)
secret = client.secrets.create(name="sdk", data=b"hush")
config = client.configs.create(name="sdk", data=b"plain")
service = client.services.create(
    image, args=["lines", "3"], name="sdk", labels={"a": "b"}, env=["A=1"], networks=["sdk"],
    secrets=[docker.types.SecretReference(secret.id, "sdk")],
    configs=[docker.types.ConfigReference(config.id, "sdk", "/sdk")],
    mode=docker.types.ServiceMode("replicated", 2),
    endpoint_spec=docker.types.EndpointSpec(ports={18099: 80}),
    update_config=docker.types.UpdateConfig(parallelism=2, delay=0),
)
running = lambda: [t for t in service.tasks({"desired-state": "running"}) if t["Status"]["State"] == "running"]
until("two tasks run", lambda: len(running()) == 2)
assert running()[0]["NetworksAttachments"][0]["Addresses"]
service.reload()
assert service.attrs["Endpoint"]["Ports"][0]["PublishedPort"] == 18099
until("six lines", lambda: len(b"".join(service.logs(stdout=True)).splitlines()) == 6)
assert service.scale(1)
until("one task runs", lambda: len(running()) == 1)
service.reload()
service.update(env=["A=2"])
service.reload()
assert service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["A=2"], service.attrs["Spec"]
assert client.services.list(filters={"name": "sdk"})[0].id == service.id
try:
    client.api.update_service(service.id, 1, name="sdk", task_template=service.attrs["Spec"]["TaskTemplate"])
    raise SystemExit("an update of an old version was taken")
except docker.errors.APIError as e:
    assert "update out of sequence" in str(e), e
assert client.containers.run(image, ["env", "X"], environment={"X": "y"}, remove=True) == b"y\n"
service.remove()
try:
    client.services.get(service.id)
    raise SystemExit("the service is still there")
except docker.errors.NotFound:
    pass
secret.remove()
config.remove()


def gone():
    try:
        network.remove()
        return True
    except docker.errors.APIError:
        return False


until("the network goes", gone)

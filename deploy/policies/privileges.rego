# Nothing has a right that it does not need, of the node or of the cluster.
package microtome.privileges

import data.microtome.objects
import rego.v1

deny contains sprintf("%s: privileged", [c.name]) if {
	some c in objects.containers
	c.container.securityContext.privileged
}

deny contains sprintf("%s: allowPrivilegeEscalation is not false", [c.name]) if {
	some c in objects.containers
	not c.container.securityContext.allowPrivilegeEscalation == false
}

deny contains sprintf("%s: capabilities are not dropped", [c.name]) if {
	some c in objects.containers
	not "ALL" in c.container.securityContext.capabilities.drop
}

deny contains sprintf("%s: capabilities are added", [c.name]) if {
	some c in objects.containers
	count(c.container.securityContext.capabilities.add) > 0
}

deny contains sprintf("%s: the root of its files can be written", [c.name]) if {
	some c in objects.containers
	not c.container.securityContext.readOnlyRootFilesystem == true
}

deny contains sprintf("%s: no seccomp profile", [pod.name]) if {
	some pod in objects.pods
	not pod.spec.securityContext.seccompProfile.type == "RuntimeDefault"
}

deny contains sprintf("%s: %s", [pod.name, key]) if {
	some pod in objects.pods
	some key in ["hostNetwork", "hostPID", "hostIPC"]
	pod.spec[key]
}

deny contains sprintf("%s: a folder of the node in volume %s", [pod.name, volume.name]) if {
	some pod in objects.pods
	some volume in pod.spec.volumes
	volume.hostPath
}

deny contains sprintf("%s: it is given a token of the cluster", [pod.name]) if {
	some pod in objects.pods
	not pod.spec.automountServiceAccountToken == false
}

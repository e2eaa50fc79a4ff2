# Every pod is closed both ways but for what is said, and none reaches the address at which a cloud
# tells its machines who they are.
package microtome.network

import data.microtome.objects
import rego.v1

metadata := {"0.0.0.0/0": "169.254.169.254/32", "::/0": "fd00:ec2::254/128"}

deny contains sprintf("%s: no NetworkPolicy of %s", [pod.name, direction]) if {
	some pod in objects.pods
	some direction in ["Ingress", "Egress"]
	not closed(pod.labels, direction)
}

deny contains sprintf("%s: it reaches %s", [objects.name(o), metadata[block.cidr]]) if {
	some o in input
	o.kind == "NetworkPolicy"
	some rule in o.spec.egress
	some peer in rule.to
	block := peer.ipBlock
	not metadata[block.cidr] in object.get(block, "except", [])
}

deny contains sprintf("%s: it reaches everything", [objects.name(o)]) if {
	some o in input
	o.kind == "NetworkPolicy"
	some rule in o.spec.egress
	count(object.get(rule, "to", [])) == 0
}

closed(labels, direction) if {
	some o in input
	o.kind == "NetworkPolicy"
	direction in o.spec.policyTypes
	objects.selects(o.spec.podSelector, labels)
}

# What the policies speak of: `input` is the list of all objects that one kustomization makes.
package microtome.objects

import rego.v1

pods contains {"name": name(o), "labels": o.spec.template.metadata.labels, "spec": o.spec.template.spec} if {
	some o in input
	o.kind in {"Deployment", "StatefulSet", "DaemonSet", "Job"}
}

pods contains {"name": name(o), "labels": job.template.metadata.labels, "spec": job.template.spec} if {
	some o in input
	o.kind == "CronJob"
	job := o.spec.jobTemplate.spec
}

# The operator of Dask gives its own labels to the pods that it makes.
pods contains {"name": name(o), "labels": labels, "spec": o.spec[role].spec} if {
	some o in input
	o.kind == "DaskCluster"
	some role in ["worker", "scheduler"]
	labels := {"dask.org/cluster-name": o.metadata.name, "dask.org/component": role}
}

pods contains {"name": name(o), "labels": labels, "spec": o.spec.cluster.spec[role].spec} if {
	some o in input
	o.kind == "DaskJob"
	some role in ["worker", "scheduler"]
	labels := {"dask.org/cluster-name": o.metadata.name, "dask.org/component": role}
}

pods contains {"name": name(o), "labels": labels, "spec": o.spec.job.spec} if {
	some o in input
	o.kind == "DaskJob"
	labels := {"dask.org/cluster-name": o.metadata.name, "dask.org/component": "job-runner"}
}

containers contains {"name": sprintf("%s, container %s", [pod.name, c.name]), "container": c, "pod": pod} if {
	some pod in pods
	some c in pod.spec.containers
}

containers contains {"name": sprintf("%s, container %s", [pod.name, c.name]), "container": c, "pod": pod} if {
	some pod in pods
	some c in pod.spec.initContainers
}

name(o) := sprintf("%s %s", [o.kind, o.metadata.name])

# Whether a selector takes in what has these labels.
selects(selector, labels) if {
	every key, value in object.get(selector, "matchLabels", {}) {
		labels[key] == value
	}
	every expression in object.get(selector, "matchExpressions", []) {
		expression.operator == "Exists"
		labels[expression.key]
	}
}

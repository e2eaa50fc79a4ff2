# A Job goes on after a node was drained, and gives up at once where trying again does not help.
package microtome.jobs

import data.microtome.objects
import rego.v1

jobs contains {"name": objects.name(o), "spec": o.spec} if {
	some o in input
	o.kind == "Job"
}

jobs contains {"name": objects.name(o), "spec": o.spec.jobTemplate.spec} if {
	some o in input
	o.kind == "CronJob"
}

deny contains sprintf("%s: a node that is drained counts as a failure", [job.name]) if {
	some job in jobs
	not ignores(job.spec)
}

deny contains sprintf("%s: exit code %d is tried again", [job.name, code]) if {
	some job in jobs
	some code in [2, 77]
	not ends(job.spec, code)
}

ignores(spec) if {
	some rule in spec.podFailurePolicy.rules
	rule.action == "Ignore"
	some condition in rule.onPodConditions
	condition.type == "DisruptionTarget"
}

ends(spec, code) if {
	some rule in spec.podFailurePolicy.rules
	rule.action == "FailJob"
	rule.onExitCodes.operator == "In"
	code in rule.onExitCodes.values
}

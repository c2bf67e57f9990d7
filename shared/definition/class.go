package definition

import "slices"

// Class says whose failure a failed attempt is, and so whether another attempt makes sense.
type Class string

// The error classes. ClassOK is no failure.
const (
	ClassOK            Class = "ok"
	ClassUser          Class = "user"           // the values or inputs of the job
	ClassDefinition    Class = "definition"     // the code or its definition
	ClassSiteTransient Class = "site-transient" // the site, passing: a full disk, a dead node
	ClassSiteConfig    Class = "site-config"    // the site's set-up or policy
	ClassTransfer      Class = "transfer"       // moving inputs or outputs
	ClassPreempted     Class = "preempted"      // the batch system took the node away
	ClassLost          Class = "lost"           // the site was out of contact for too long
	ClassQuota         Class = "quota"          // a limit of the user, the definition or the site
)

// RetryClasses are the classes after which a new attempt can help.
var RetryClasses = []Class{ClassSiteTransient, ClassSiteConfig, ClassTransfer, ClassPreempted, ClassLost, ClassQuota}

// ExitClass returns the class of an exit code. A process that a signal ended has no exit code of its
// own; shells report 128 plus the signal's number, which is sorted like any other code.
func (d *Definition) ExitClass(code int) Class {
	switch {
	case slices.Contains(d.Run.Exit.OK, code):
		return ClassOK
	case slices.Contains(d.Run.Exit.User, code):
		return ClassUser
	case slices.Contains(d.Run.Exit.Transient, code):
		return ClassSiteTransient
	}
	return ClassDefinition
}

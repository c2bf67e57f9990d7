package jobs

import "sync"

// waiters counts the waits of each principal, so that one of them can't take all there is.
type waiters struct {
	max int
	mu  sync.Mutex
	now map[string]int
}

func (w *waiters) enter(owner string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[owner] >= w.max {
		return false
	}
	w.now[owner]++
	return true
}

func (w *waiters) leave(owner string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.now[owner]--; w.now[owner] == 0 {
		delete(w.now, owner)
	}
}

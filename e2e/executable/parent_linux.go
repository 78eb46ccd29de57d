package executable

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel kill the process with the thread that starts it, so also with
// this process.
func endWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

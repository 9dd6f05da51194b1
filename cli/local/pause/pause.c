// SPDX-License-Identifier: Apache-2.0
// The process that holds a pod's namespaces: it waits, and reaps what is left to it when the pod's
// containers share its PID namespace. Ends at SIGTERM or SIGINT.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_end(int signal_number) {
  (void)signal_number;
  _exit(0);
}

static void on_child(int signal_number) {
  (void)signal_number;
  while (waitpid(-1, 0, WNOHANG) > 0)
    ;
}

int main(void) {
  struct sigaction end = {.sa_handler = on_end};
  struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP | SA_RESTART};

  if (sigaction(SIGTERM, &end, 0) || sigaction(SIGINT, &end, 0) || sigaction(SIGCHLD, &child, 0))
    return 1;
  for (;;) pause();
}

"""What both phases' loops share: state to resume, processes, rates, reports."""

"""Starting, following and reading runs of the runbooks, on whatever cluster the kubeconfig names."""

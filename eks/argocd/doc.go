// Package argocd holds nothing but tests of the Argo CD files beside it.
//
// The one rule: what Argo CD builds is what sim manifests render prints for EKS, plus Argo CD's own annotations and references to
// credentials.
package argocd

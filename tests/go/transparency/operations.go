package main

import (
	"context"
	"fmt"
	"io"
	"sort"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
)

var (
	configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	services   = schema.GroupVersionResource{Version: "v1", Resource: "services"}
)

// operations are done in this order; later ones use what earlier ones made.
var operations = []operation{
	{"server version", false, func(_ context.Context, s *side) (any, error) { return s.discovery.ServerVersion() }},
	{"discovery of groups and resources", false, discover},
	{"OpenAPI v3 paths", false, openAPI},
	{"create a config map", true, func(ctx context.Context, s *side) (any, error) {
		return s.typed.CoreV1().ConfigMaps(s.namespace).Create(ctx, configMap("one"), metav1.CreateOptions{})
	}},
	{"create it again: a conflict", true, func(ctx context.Context, s *side) (any, error) {
		return s.typed.CoreV1().ConfigMaps(s.namespace).Create(ctx, configMap("one"), metav1.CreateOptions{})
	}},
	{"create by protobuf", true, func(ctx context.Context, s *side) (any, error) {
		return s.protobuf.CoreV1().ConfigMaps(s.namespace).Create(ctx, configMap("two"), metav1.CreateOptions{})
	}},
	{"get by protobuf", false, func(ctx context.Context, s *side) (any, error) {
		return s.protobuf.CoreV1().ConfigMaps(s.namespace).Get(ctx, "one", metav1.GetOptions{})
	}},
	{"get what is not there", false, func(ctx context.Context, s *side) (any, error) {
		return s.typed.CoreV1().ConfigMaps(s.namespace).Get(ctx, "absent", metav1.GetOptions{})
	}},
	{"update", true, update},
	{"merge patch", true, func(ctx context.Context, s *side) (any, error) {
		return s.patch(ctx, types.MergePatchType, `{"data":{"merged":"yes"}}`)
	}},
	{"JSON patch", true, func(ctx context.Context, s *side) (any, error) {
		return s.patch(ctx, types.JSONPatchType, `[{"op":"add","path":"/data/json","value":"yes"}]`)
	}},
	{"strategic merge patch", true, func(ctx context.Context, s *side) (any, error) {
		return s.patch(ctx, types.StrategicMergePatchType, `{"metadata":{"labels":{"strategic":"yes"}}}`)
	}},
	{"server-side apply", true, apply},
	{"dry run", true, func(ctx context.Context, s *side) (any, error) {
		options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
		return s.typed.CoreV1().ConfigMaps(s.namespace).Create(ctx, configMap("dry"), options)
	}},
	{"list in pages", false, pages},
	{"list by label", false, func(ctx context.Context, s *side) (any, error) {
		options := metav1.ListOptions{LabelSelector: "strategic=yes"}
		return s.typed.CoreV1().ConfigMaps(s.namespace).List(ctx, options)
	}},
	{"dynamic create of a service", true, service},
	{"dynamic list", false, func(ctx context.Context, s *side) (any, error) {
		return s.dynamic.Resource(services).Namespace(s.namespace).List(ctx, metav1.ListOptions{})
	}},
	{"metadata only", false, func(ctx context.Context, s *side) (any, error) {
		return s.metadata.Resource(configMaps).Namespace(s.namespace).Get(ctx, "one", metav1.GetOptions{})
	}},
	{"as a table", false, func(ctx context.Context, s *side) (any, error) {
		accept := "application/json;as=Table;v=v1;g=meta.k8s.io"
		bytes, err := s.typed.CoreV1().RESTClient().Get().Namespace(s.namespace).Resource("configmaps").Name("one").
			SetHeader("Accept", accept).DoRaw(ctx)
		return len(bytes) > 0, err
	}},
	{"create a deployment", true, func(ctx context.Context, s *side) (any, error) {
		return s.typed.AppsV1().Deployments(s.namespace).Create(ctx, deployment(), metav1.CreateOptions{})
	}},
	{"scale it", true, scale},
	{"may I", true, mayI},
	{"watch from creation to deletion", true, watch},
	{"informer", false, informer},
	{"logs of a pod", false, logs},
	{"read another namespace: refused by the API server", false, func(ctx context.Context, s *side) (any, error) {
		return s.typed.CoreV1().ConfigMaps("kube-public").List(ctx, metav1.ListOptions{})
	}},
	{"delete with a precondition that fails", true, func(ctx context.Context, s *side) (any, error) {
		options := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To("1")}}
		return nil, s.typed.CoreV1().ConfigMaps(s.namespace).Delete(ctx, "one", options)
	}},
	{"delete", true, func(ctx context.Context, s *side) (any, error) {
		return nil, s.typed.CoreV1().ConfigMaps(s.namespace).Delete(ctx, "one", metav1.DeleteOptions{})
	}},
	{"delete a collection", true, func(ctx context.Context, s *side) (any, error) {
		options := metav1.ListOptions{LabelSelector: "made-by=transparency"}
		return nil, s.typed.CoreV1().ConfigMaps(s.namespace).DeleteCollection(ctx, metav1.DeleteOptions{}, options)
	}},
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"made-by": "transparency"}},
		Data:       map[string]string{"key": "value of " + name, "unicode": "Ünïcödé ☃"},
		BinaryData: map[string][]byte{"bytes": {0, 1, 2, 0xff}},
	}
}

func deployment() *appsv1.Deployment {
	labels := map[string]string{"app": "idle"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "idle"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](0),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "idle", Image: "sluice.test/busybox:1"}}},
			},
		},
	}
}

func discover(_ context.Context, s *side) (any, error) {
	groups, resources, err := s.discovery.ServerGroupsAndResources()
	// client-go walks a map.
	sort.Slice(resources, func(i, j int) bool { return resources[i].GroupVersion < resources[j].GroupVersion })
	return map[string]any{"groups": groups, "resources": resources}, err
}

func openAPI(_ context.Context, s *side) (any, error) {
	paths, err := s.discovery.OpenAPIV3().Paths()
	names := make([]string, 0, len(paths))
	for name := range paths {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, err
}

func update(ctx context.Context, s *side) (any, error) {
	current, err := s.typed.CoreV1().ConfigMaps(s.namespace).Get(ctx, "one", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	current.Data["updated"] = "yes"
	return s.typed.CoreV1().ConfigMaps(s.namespace).Update(ctx, current, metav1.UpdateOptions{})
}

func (s *side) patch(ctx context.Context, kind types.PatchType, body string) (any, error) {
	return s.typed.CoreV1().ConfigMaps(s.namespace).Patch(ctx, "one", kind, []byte(body), metav1.PatchOptions{})
}

func apply(ctx context.Context, s *side) (any, error) {
	wanted := applycorev1.ConfigMap("applied", s.namespace).WithData(map[string]string{"applied": "yes"}).
		WithLabels(map[string]string{"made-by": "transparency"})
	options := metav1.ApplyOptions{FieldManager: "transparency", Force: true}
	return s.typed.CoreV1().ConfigMaps(s.namespace).Apply(ctx, wanted, options)
}

func pages(ctx context.Context, s *side) (any, error) {
	var sizes []int
	options := metav1.ListOptions{Limit: 2}
	for {
		page, err := s.typed.CoreV1().ConfigMaps(s.namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, len(page.Items))
		if options.Continue = page.Continue; options.Continue == "" {
			return sizes, nil
		}
	}
}

func service(ctx context.Context, s *side) (any, error) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": "idle"},
		"spec": map[string]any{
			"selector": map[string]any{"app": "idle"},
			"ports":    []any{map[string]any{"port": int64(80), "protocol": "TCP"}},
		},
	}}
	return s.dynamic.Resource(services).Namespace(s.namespace).Create(ctx, object, metav1.CreateOptions{})
}

func scale(ctx context.Context, s *side) (any, error) {
	deployments := s.typed.AppsV1().Deployments(s.namespace)
	current, err := deployments.GetScale(ctx, "idle", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	// The controller may write the status in between; the scale itself is not guarded.
	current.ResourceVersion = ""
	scaled, err := deployments.UpdateScale(ctx, "idle", current, metav1.UpdateOptions{})
	if err != nil {
		return nil, err
	}
	return scaled.Spec, nil
}

func mayI(ctx context.Context, s *side) (any, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: s.namespace, Verb: "get", Resource: "pods"},
	}}
	answer, err := s.typed.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	return answer.Status.Allowed, nil
}

func watch(ctx context.Context, s *side) (any, error) {
	maps := s.typed.CoreV1().ConfigMaps(s.namespace)
	options := metav1.ListOptions{FieldSelector: "metadata.name=watched"}
	watcher, err := maps.Watch(ctx, options)
	if err != nil {
		return nil, err
	}
	defer watcher.Stop()
	if _, err := maps.Create(ctx, configMap("watched"), metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	if err := maps.Delete(ctx, "watched", metav1.DeleteOptions{}); err != nil {
		return nil, err
	}
	var events []any
	for event := range watcher.ResultChan() {
		events = append(events, event)
		if len(events) == 2 {
			return events, nil
		}
	}
	return nil, fmt.Errorf("the watch ended after %d events", len(events))
}

func informer(ctx context.Context, s *side) (any, error) {
	factory := informers.NewSharedInformerFactoryWithOptions(s.typed, 0, informers.WithNamespace(s.namespace))
	maps := factory.Core().V1().ConfigMaps().Informer()
	done, stop := context.WithCancel(ctx)
	defer stop()
	factory.Start(done.Done())
	if !cache.WaitForCacheSync(done.Done(), maps.HasSynced) {
		return nil, fmt.Errorf("the cache did not fill")
	}
	names := maps.GetStore().ListKeys()
	sort.Strings(names)
	return names, nil
}

func logs(ctx context.Context, s *side) (any, error) {
	pods, err := s.typed.CoreV1().Pods("dev").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("no pod of app=web in dev")
	}
	options := &corev1.PodLogOptions{LimitBytes: ptr.To[int64](64)}
	stream, err := s.typed.CoreV1().Pods("dev").GetLogs(pods.Items[0].Name, options).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	bytes, err := io.ReadAll(stream)
	return string(bytes), err
}

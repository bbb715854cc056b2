import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/**
 * Asks for one page and prints its status and its body. Whom to trust, and by
 * which proxy, is what any Java program takes from its options.
 *
 * <p>java Ask.java URL [TOKEN]
 */
class Ask {
    public static void main(String[] words) throws Exception {
        var client = HttpClient.newBuilder().proxy(ProxySelector.getDefault()).build();
        var request = HttpRequest.newBuilder(URI.create(words[0]));
        if (words.length > 1) {
            request.header("Authorization", "Bearer " + words[1]);
        }
        var answer = client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.statusCode());
        System.out.println(answer.body());
    }
}
